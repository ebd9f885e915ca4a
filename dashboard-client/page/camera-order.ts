import type { CameraState } from "../state/camera-state.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";

/** Cameras with a lower rank need attention first. */
const RANK = { offline: 0, overslept: 1, stale: 2, unknown: 3, never_seen: 4, sleeping: 5, online: 6 };

export function worstFirst(cameras: readonly CameraState[]): CameraState[] {
  return cameras.toSorted((one, other) => rankOf(one) - rankOf(other) || one.id.localeCompare(other.id));
}

/** Counts cameras that should be connected. */
export function countOffline({ cameras }: Pick<RealTimeData, "cameras">): number {
  return [...cameras.values()].filter((camera) => rankOf(camera) <= RANK.overslept).length;
}

export function countOnline({ cameras }: Pick<RealTimeData, "cameras">): number {
  return [...cameras.values()].filter(({ presence }) => presence?.value.status === "online").length;
}

function rankOf({ presence }: CameraState): number {
  return RANK[presence?.value.status ?? "unknown"];
}
