import { defaultsOf } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { type PreviewLimits, previewLimits, previewSettings } from "./config.ts";

export type { PreviewLimits } from "./config.ts";

/** A stored preview without its bytes. */
export interface StoredPreview {
  capture: string;
  /** Milliseconds since 1970. */
  takenAt: number;
  /** When the preview arrived, milliseconds since 1970. */
  savedAt: number;
  /** Includes the quotes that the HTTP header needs. */
  etag: string;
  sizeBytes: number;
}

export interface PreviewPage {
  /** Newest first. */
  previews: readonly StoredPreview[];
  /** The number of the camera's previews on all pages together. */
  total: number;
}

/** A position in a list, directly after the preview with this time and capture id. */
export interface PreviewCursor {
  takenAt: number;
  capture: string;
}

export const DEFAULT_PREVIEW_LIMITS: PreviewLimits = previewLimits(
  defaultsOf({ ...previewSettings, MAX_CAMERAS: serverSettings.MAX_CAMERAS }),
);

/**
 * Stores previews in files of this node, or in Redis for all nodes. Previews older than `keepMs` or beyond the other
 * limits disappear from lists at once. The caller validates camera and capture ids.
 */
export interface PreviewStore {
  /**
   * Resolves when the preview is durable. The preview is kept for `keepMs` after its arrival, no matter when it was
   * taken. The same bytes for the same capture change nothing; other bytes replace the preview.
   * @returns whether it is the newest preview of its camera
   */
  put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean>;
  /** The newest preview of each camera that has one. */
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>>;
  list(camera: string, page: { after: PreviewCursor | undefined; limit: number }): Promise<PreviewPage>;
  /** At most `frames` previews, spread evenly over the time between the oldest and the newest. */
  overview(camera: string, frames: number): Promise<PreviewPage>;
  /** A preview and its bytes. @param capture undefined for the newest preview */
  read(camera: string, capture: string | undefined): Promise<{ preview: StoredPreview; jpeg: Buffer } | undefined>;
  /** Waits for the operations under way. */
  close(): Promise<void>;
}

/**
 * Chooses at most `frames` of the times, spread evenly: divides the period into `frames` intervals of equal length and
 * chooses the newest time of each. Nothing is chosen from an interval that contains no time.
 * @param times newest first
 * @returns the indices of the chosen times, ascending
 */
export function spread(times: readonly number[], frames: number): number[] {
  const [newest, oldest] = [times[0], times.at(-1)];
  if (newest === undefined || oldest === undefined || frames < 1) return [];
  if (times.length <= frames) return times.map((_, index) => index);
  const intervalMs = (newest - oldest) / frames;
  const chosen: number[] = [];
  let last = -1;
  for (const [index, time] of times.entries()) {
    const interval = intervalMs === 0 ? 0 : Math.min(frames - 1, Math.floor((newest - time) / intervalMs));
    if (interval === last) continue;
    chosen.push(index);
    last = interval;
  }
  return chosen;
}
