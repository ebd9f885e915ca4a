import type { CameraState } from "../state/camera-state.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";

/** Cameras with a lower rank need attention first. A status that is not listed ranks as `unknown`. */
const RANK: Readonly<Record<string, number>> = {
  offline: 0,
  overslept: 1,
  stale: 2,
  unknown: 3,
  never_seen: 4,
  sleeping: 5,
  online: 6,
};

/** The cameras that need attention first. Cameras of the same rank are sorted by id. */
export function worstFirst(cameras: readonly CameraState[]): CameraState[] {
  return cameras.toSorted((one, other) => rankOf(one) - rankOf(other) || one.id.localeCompare(other.id));
}

/** Cameras that should be connected and are not: offline, or still asleep after the announced time. */
export function countOffline({ cameras }: Pick<RealTimeData, "cameras">): number {
  return [...cameras.values()].filter((camera) => rankOf(camera) <= (RANK.overslept ?? 0)).length;
}

function rankOf({ presence }: CameraState): number {
  return RANK[presence?.value.status ?? "unknown"] ?? RANK.unknown ?? 0;
}
