import { defaultsOf } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { type PreviewLimits, previewLimits, previewSettings } from "./config.ts";

export type { PreviewLimits } from "./config.ts";

/** What is known of a kept picture without looking at it. */
export interface StoredPreview {
  capture: string;
  /** Milliseconds since 1970. */
  takenAt: number;
  savedAt: number;
  /** With its quotes, as HTTP writes it. */
  etag: string;
  sizeBytes: number;
}

export interface PreviewPage {
  /** Newest first. */
  previews: readonly StoredPreview[];
  /** Pictures of the camera that the list has in all. */
  total: number;
}

/** A place in a list: after the picture that was taken then. */
export interface PreviewCursor {
  takenAt: number;
  capture: string;
}

export const DEFAULT_PREVIEW_LIMITS: PreviewLimits = previewLimits(
  defaultsOf({ ...previewSettings, MAX_CAMERAS: serverSettings.MAX_CAMERAS }),
);

/**
 * Where pictures are: files of this node, or Redis for all nodes. What `keepMs` and the other limits drop is gone from
 * lists at once. Names are checked by the caller.
 */
export interface PreviewStore {
  /**
   * Resolves when the picture is durable. It stays for `keepMs` from its arrival on, whenever it was taken.
   * The same bytes of the same capture again change nothing; other bytes take their place.
   * @returns whether it is the newest of its camera
   */
  put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean>;
  /** The newest of each camera that has one. */
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>>;
  list(camera: string, page: { after: PreviewCursor | undefined; limit: number }): Promise<PreviewPage>;
  /** At most `frames` pictures, spread evenly over the time between the oldest and the newest. */
  overview(camera: string, frames: number): Promise<PreviewPage>;
  /** @param capture undefined for the newest */
  read(camera: string, capture: string | undefined): Promise<{ preview: StoredPreview; jpeg: Buffer } | undefined>;
  /** Waits for what is under way. */
  close(): Promise<void>;
}

/**
 * Chooses at most `frames` of moments, which come newest first, spread evenly over their time: of each stretch of it
 * the newest. Where nothing was taken for hours nothing is chosen.
 * @returns their indices, ascending
 */
export function spread(moments: readonly number[], frames: number): number[] {
  const [newest, oldest] = [moments[0], moments.at(-1)];
  if (newest === undefined || oldest === undefined || frames < 1) return [];
  if (moments.length <= frames) return moments.map((_, index) => index);
  const stretchMs = (newest - oldest) / frames;
  const chosen: number[] = [];
  let last = -1;
  for (const [index, moment] of moments.entries()) {
    const stretch = stretchMs === 0 ? 0 : Math.min(frames - 1, Math.floor((newest - moment) / stretchMs));
    if (stretch === last) continue;
    chosen.push(index);
    last = stretch;
  }
  return chosen;
}
