import { createHash } from "node:crypto";
import type { PreviewUpdated } from "../../contract/events.ts";
import { isId } from "../../contract/ids.ts";
import { JpegError, readJpeg } from "../../platform/jpeg.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { JUMP_MS } from "../clock/clock-state.ts";
import { captureTime } from "./capture-time.ts";
import { openFilePreviewStore } from "./file-store.ts";
import {
  DEFAULT_PREVIEW_LIMITS,
  type PreviewCursor,
  type PreviewLimits,
  type PreviewPage,
  type PreviewStore,
  type StoredPreview,
} from "./preview-store.ts";
import { createRedisPreviewStore } from "./redis-store.ts";

/** The previews of each camera: those that arrived in the last 48 hours, and always the newest. */
export interface Previews {
  /**
   * Stores a preview. Resolves when the preview is durable; only then does the camera receive its acknowledgement. Its
   * retention starts at its arrival, no matter when it was taken. Saving the same preview again changes nothing.
   * @throws {PreviewRefusedError} the preview is not a JPEG, or too large: sending it again would not help
   * @throws any other error if the preview cannot be written: the camera sends it again
   */
  save(camera: string, capture: string, jpeg: Uint8Array, sender?: PreviewSender): Promise<SavedPreview>;
  /** The newest preview of each of these cameras that has one. */
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>>;
  list(camera: string, page: { after: PreviewCursor | undefined; limit: number }): Promise<PreviewPage>;
  /** At most `frames` previews, spread evenly over the time of all the camera's previews. */
  overview(camera: string, frames: number): Promise<PreviewPage>;
  /** A preview and its bytes. @param capture default: the newest preview */
  read(camera: string, capture?: string): Promise<{ preview: StoredPreview; jpeg: Buffer } | undefined>;
  /** Waits for the writes under way. */
  close(): Promise<void>;
}

export interface PreviewSender {
  /**
   * How far the camera's clock is ahead of the system's clock, milliseconds; 0 if the difference is small or unknown.
   */
  senderAheadMs: number;
}

export interface SavedPreview {
  updated: PreviewUpdated;
  /** False for a preview from a backlog: the camera has a newer one. */
  newest: boolean;
}

export interface PreviewsOptions extends Partial<PreviewLimits> {
  /** The folder of the previews; created if missing. */
  path: string;
  /** The largest preview, bytes. Default {@link MAX_PREVIEW_BYTES}. */
  maxPictureBytes?: number;
  /** The server's own clock, milliseconds since 1970. Default: the system's. */
  now?: () => number;
  /** The system's clock, milliseconds since 1970. Times that people see are by this clock. Default: `now`. */
  wall?: () => number;
}

export interface RedisPreviewsOptions extends Omit<PreviewsOptions, "path"> {
  redis: RedisConnections;
}

/** The largest preview that the contract allows, bytes. */
export const MAX_PREVIEW_BYTES = 65_536;
/**
 * The largest width and height of a preview, pixels. A JPEG of 64 KiB with larger dimensions is an attack on the memory
 * of programs that decode it.
 */
export const MAX_PREVIEW_PIXELS = 4096;

/** The HTTP route of a camera's newest preview. */
export const LATEST_PICTURE_ROUTE = "/cameras/:id/latest.jpg";

export function latestPictureUrl(camera: string): string {
  return LATEST_PICTURE_ROUTE.replace(":id", camera);
}

/** The HTTP route of the list of a camera's previews. */
export const PICTURES_ROUTE = "/cameras/:id/previews";

export function picturesUrl(camera: string): string {
  return PICTURES_ROUTE.replace(":id", camera);
}

/** The URL of one preview. */
export function pictureUrl(camera: string, capture: string): string {
  return `${picturesUrl(camera)}/${capture}.jpg`;
}

/** The preview is invalid or too large. */
export class PreviewRefusedError extends Error {
  override name = "PreviewRefusedError";
}

/** Keeps previews in files of this node. */
export async function openPreviews({ path, ...options }: PreviewsOptions): Promise<Previews> {
  const limits = limitsOf(options);
  const { now = Date.now } = options;
  return createPreviews(await openFilePreviewStore({ path, limits, now }), options);
}

/** Keeps previews in Redis, shared by all nodes. */
export function openRedisPreviews({ redis, ...options }: RedisPreviewsOptions): Previews {
  const limits = limitsOf(options);
  const { now = Date.now } = options;
  return createPreviews(createRedisPreviewStore({ redis, limits, now }), options);
}

function limitsOf(options: Partial<PreviewLimits>): PreviewLimits {
  const { keepMs, maxPreviewsPerCamera, maxBytesPerCamera, maxPreviews, maxBytes, maxCameras } = options;
  const defaults = DEFAULT_PREVIEW_LIMITS;
  return {
    keepMs: keepMs ?? defaults.keepMs,
    maxPreviewsPerCamera: maxPreviewsPerCamera ?? defaults.maxPreviewsPerCamera,
    maxBytesPerCamera: maxBytesPerCamera ?? defaults.maxBytesPerCamera,
    maxPreviews: maxPreviews ?? defaults.maxPreviews,
    maxBytes: maxBytes ?? defaults.maxBytes,
    maxCameras: maxCameras ?? defaults.maxCameras,
  };
}

/** Validates previews and converts their times, for both kinds of store. */
function createPreviews(
  store: PreviewStore,
  { maxPictureBytes = MAX_PREVIEW_BYTES, now = Date.now, wall = now }: Omit<PreviewsOptions, "path">,
): Previews {
  /**
   * How far the system's clock is ahead of the server's own clock, in whole minutes. The store uses the server's own
   * clock.
   */
  const wallAheadMs = () => {
    const aheadMs = wall() - now();
    return Math.abs(aheadMs) <= JUMP_MS ? 0 : Math.round(aheadMs / 60_000) * 60_000;
  };
  const bySystemClock = (preview: StoredPreview): StoredPreview => {
    const aheadMs = wallAheadMs();
    if (aheadMs === 0) return preview;
    return { ...preview, takenAt: preview.takenAt + aheadMs, savedAt: preview.savedAt + aheadMs };
  };
  const pageBySystemClock = ({ previews, total }: PreviewPage): PreviewPage => ({
    previews: previews.map(bySystemClock),
    total,
  });
  return {
    async save(camera, capture, jpeg, { senderAheadMs } = { senderAheadMs: 0 }) {
      // Ids become parts of paths and keys.
      if (!isId(camera)) throw new PreviewRefusedError(`"${camera}" is not a camera id`);
      if (!isId(capture)) throw new PreviewRefusedError(`"${capture}" is not a capture id`);
      const sizeBytes = jpeg.length;
      if (sizeBytes > maxPictureBytes)
        throw new PreviewRefusedError(
          `the preview has ${sizeBytes} bytes, more than ${maxPictureBytes}: make it smaller`,
        );
      refuseUnreadable(jpeg);
      const savedAt = now();
      const namedTime = captureTime(capture, wall(), senderAheadMs);
      const takenAt = namedTime === undefined ? savedAt : namedTime - wallAheadMs();
      const etag = etagOf(jpeg);
      const newest = await store.put(camera, { capture, takenAt, savedAt, etag, sizeBytes }, jpeg);
      const updated = { capture, url: latestPictureUrl(camera), etag, size_bytes: sizeBytes };
      return {
        updated: namedTime === undefined ? updated : { ...updated, taken_at: new Date(namedTime).toISOString() },
        newest,
      };
    },
    async newest(cameras) {
      const found = await store.newest(cameras);
      return new Map([...found].map(([camera, preview]) => [camera, bySystemClock(preview)]));
    },
    async list(camera, { after, limit }) {
      const cursor = after === undefined ? undefined : { ...after, takenAt: after.takenAt - wallAheadMs() };
      return pageBySystemClock(await store.list(camera, { after: cursor, limit }));
    },
    overview: async (camera, frames) => pageBySystemClock(await store.overview(camera, frames)),
    async read(camera, capture) {
      const found = await store.read(camera, capture);
      return found === undefined ? undefined : { preview: bySystemClock(found.preview), jpeg: found.jpeg };
    },
    close: () => store.close(),
  };
}

/** Refuses a JPEG that is incomplete or too large to decode quickly. @throws {PreviewRefusedError} */
function refuseUnreadable(jpeg: Uint8Array): void {
  try {
    readJpeg(jpeg, { maxPixels: MAX_PREVIEW_PIXELS });
  } catch (error) {
    if (!(error instanceof JpegError)) throw error;
    throw new PreviewRefusedError(`the preview is ${error.message}`, { cause: error });
  }
}

function etagOf(bytes: Uint8Array): string {
  return `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 27)}"`;
}
