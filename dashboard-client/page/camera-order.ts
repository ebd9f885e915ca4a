import type { CameraState } from "../state/camera-state.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";

/** Counts cameras that should be connected. */
export function countOffline({ cameras }: Pick<RealTimeData, "cameras">): number {
  return count(cameras, (status) => status === "offline" || status === "overslept");
}

export function countOnline({ cameras }: Pick<RealTimeData, "cameras">): number {
  return count(cameras, (status) => status === "online");
}

type Status = NonNullable<CameraState["presence"]>["value"]["status"];

function count(cameras: RealTimeData["cameras"], fits: (status: Status | undefined) => boolean): number {
  let number = 0;
  for (const { presence } of cameras.values()) if (fits(presence?.value.status)) number++;
  return number;
}
