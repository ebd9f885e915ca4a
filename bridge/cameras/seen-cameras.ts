import { DASHBOARD } from "../../contract/channels.ts";
import type { Journal } from "../journal/journal.ts";
import type { PresenceService } from "./presence.ts";

/** The ids of the cameras that have sent something. */
export function seenCameras(journal: Pick<Journal, "snapshot">): Set<string> {
  const ids = new Set<string>();
  // A job may name a camera that never connected.
  for (const { camera, channels } of journal.snapshot(DASHBOARD))
    if (camera !== undefined && !ids.has(camera) && channels.includes(`camera:${camera}`)) ids.add(camera);
  return ids;
}

/** The number of cameras by status. */
export function countByStatus(ids: Iterable<string>, presence: Pick<PresenceService, "of">): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const id of ids) {
    const status = presence.of(id)?.status ?? "unknown";
    counts[status] = (counts[status] ?? 0) + 1;
  }
  return counts;
}
