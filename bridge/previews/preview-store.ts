import { defaultsOf } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { type PreviewLimits, previewLimits, previewSettings } from "./config.ts";

/** A stored preview without its bytes. */
export interface StoredPreview {
  capture: string;
  /** Milliseconds since 1970. */
  takenAt: number;
  /** The arrival, milliseconds since 1970. */
  savedAt: number;
  /** Includes the quotes that the HTTP header needs. */
  etag: string;
  sizeBytes: number;
}

export interface PreviewPage {
  /** Newest first. */
  previews: readonly StoredPreview[];
  /** The number of the camera's previews in the range, on all pages together. */
  total: number;
}

/** A position in a list: directly after the preview with this time and capture id. */
export type PreviewCursor = Pick<StoredPreview, "takenAt" | "capture">;

/** Times of capture, milliseconds since 1970, both inclusive. */
export interface PreviewRange {
  from?: number | undefined;
  to?: number | undefined;
}

export interface PreviewListQuery extends PreviewRange {
  after: PreviewCursor | undefined;
  limit: number;
}

export const DEFAULT_PREVIEW_LIMITS: PreviewLimits = previewLimits(
  defaultsOf({ ...previewSettings, MAX_CAMERAS: serverSettings.MAX_CAMERAS }),
);

/** Previews beyond the limits disappear from lists at once. The caller validates camera and capture ids. */
export interface PreviewStore {
  /**
   * Resolves when the preview is durable. The preview is kept for `keepMs` after its arrival, no matter when it was
   * taken. Putting the same bytes again changes nothing; other bytes of the same capture replace the preview.
   * @returns whether it is the newest preview of its camera
   */
  put(camera: string, preview: StoredPreview, jpeg: Uint8Array): Promise<boolean>;
  /** The result has no entry for a camera without previews. */
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>>;
  list(camera: string, query: PreviewListQuery): Promise<PreviewPage>;
  /** At most `frames` previews of the range, as {@link spread} chooses them. */
  overview(camera: string, frames: number, range?: PreviewRange): Promise<PreviewPage>;
  /** @param capture undefined for the newest preview */
  read(camera: string, capture: string | undefined): Promise<{ preview: StoredPreview; jpeg: Buffer } | undefined>;
  /** Waits for running operations. */
  close(): Promise<void>;
}

/**
 * Divides the period of the previews into `frames` equal intervals, and chooses the newest preview of each interval. An
 * interval without previews adds nothing.
 * @param previews newest first
 */
export function spread<Taken extends { takenAt: number }>(previews: readonly Taken[], frames: number): Taken[] {
  const [newest, oldest] = [previews[0], previews.at(-1)];
  if (newest === undefined || oldest === undefined || frames < 1) return [];
  if (previews.length <= frames) return [...previews];
  const intervalMs = (newest.takenAt - oldest.takenAt) / frames;
  let last = -1;
  return previews.filter(({ takenAt }) => {
    const age = newest.takenAt - takenAt;
    const interval = intervalMs === 0 ? 0 : Math.min(frames - 1, Math.floor(age / intervalMs));
    const isFirst = interval !== last;
    last = interval;
    return isFirst;
  });
}
