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

/** The pictures of the last 48 hours of each camera, each durable before its camera may forget it, and the newest of all time. */
export interface Previews {
  /**
   * Resolves when the picture is durable. It is kept from its arrival on, whenever it was taken. The same picture again
   * changes nothing.
   * @throws {PreviewRefusedError} it is no JPEG, or too large: sending it again changes nothing
   * @throws when it cannot be written: the camera is to send it again
   */
  save(camera: string, capture: string, jpeg: Uint8Array, sender?: PreviewSender): Promise<SavedPreview>;
  /** The newest picture of each of these cameras that has one. */
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, StoredPreview>>;
  list(camera: string, page: { after: PreviewCursor | undefined; limit: number }): Promise<PreviewPage>;
  /** At most `frames` pictures, spread evenly over all that is kept of the camera. */
  overview(camera: string, frames: number): Promise<PreviewPage>;
  /** A picture and what is known of exactly these bytes. @param capture default: the newest */
  read(camera: string, capture?: string): Promise<{ preview: StoredPreview; jpeg: Buffer } | undefined>;
  /** Waits for the writes under way. */
  close(): Promise<void>;
}

export interface PreviewSender {
  /** How far the camera's clock is ahead of the system's, milliseconds; of one that is right, or not known, 0. */
  senderAheadMs: number;
}

export interface SavedPreview {
  updated: PreviewUpdated;
  /** False for a picture from a backlog: there is a newer one. */
  newest: boolean;
}

export interface PreviewsOptions extends Partial<PreviewLimits> {
  /** The folder of the pictures; made when it is not there. */
  path: string;
  /** The largest picture, bytes. Default {@link MAX_PREVIEW_BYTES}. */
  maxPictureBytes?: number;
  /** The server's own clock, milliseconds since 1970. Default: the system's. */
  now?: () => number;
  /** The system's clock, by which people are told the time, milliseconds since 1970. Default: `now`. */
  wall?: () => number;
}

export interface RedisPreviewsOptions extends Omit<PreviewsOptions, "path"> {
  redis: RedisConnections;
}

/** The contract's bound for a preview, bytes. */
export const MAX_PREVIEW_BYTES = 65_536;
/** The widest and highest preview, pixels. A picture of 64 KiB that claims more is meant to exhaust whoever opens it. */
export const MAX_PREVIEW_PIXELS = 4096;

/** Where HTTP serves the newest picture of a camera. */
export const LATEST_PICTURE_ROUTE = "/cameras/:id/latest.jpg";

export function latestPictureUrl(camera: string): string {
  return LATEST_PICTURE_ROUTE.replace(":id", camera);
}

/** Where HTTP lists the pictures of a camera. */
export const PICTURES_ROUTE = "/cameras/:id/previews";

export function picturesUrl(camera: string): string {
  return PICTURES_ROUTE.replace(":id", camera);
}

/** Where HTTP serves a picture for as long as it is kept. */
export function pictureUrl(camera: string, capture: string): string {
  return `${picturesUrl(camera)}/${capture}.jpg`;
}

/** The bytes are no picture that this system keeps. */
export class PreviewRefusedError extends Error {
  override name = "PreviewRefusedError";
}

/** Keeps pictures as files of this node. */
export async function openPreviews({ path, ...options }: PreviewsOptions): Promise<Previews> {
  const limits = limitsOf(options);
  const { now = Date.now } = options;
  return createPreviews(await openFilePreviewStore({ path, limits, now }), options);
}

/** Keeps pictures in Redis, where every node finds them. */
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

/** What is the same wherever pictures are kept: what is one, and when it was taken. */
function createPreviews(
  store: PreviewStore,
  { maxPictureBytes = MAX_PREVIEW_BYTES, now = Date.now, wall = now }: Omit<PreviewsOptions, "path">,
): Previews {
  /** How far the system's clock is ahead of the server's own, which pictures are kept and ordered by; in whole minutes. */
  const wallAheadMs = () => {
    const aheadMs = wall() - now();
    return Math.abs(aheadMs) <= JUMP_MS ? 0 : Math.round(aheadMs / 60_000) * 60_000;
  };
  const shown = (preview: StoredPreview): StoredPreview => {
    const aheadMs = wallAheadMs();
    if (aheadMs === 0) return preview;
    return { ...preview, takenAt: preview.takenAt + aheadMs, savedAt: preview.savedAt + aheadMs };
  };
  const shownPage = ({ previews, total }: PreviewPage): PreviewPage => ({ previews: previews.map(shown), total });
  return {
    async save(camera, capture, jpeg, { senderAheadMs } = { senderAheadMs: 0 }) {
      // Names become parts of paths and keys.
      if (!isId(camera)) throw new PreviewRefusedError(`"${camera}" is no camera id`);
      if (!isId(capture)) throw new PreviewRefusedError(`"${capture}" is no capture id`);
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
      return new Map([...found].map(([camera, preview]) => [camera, shown(preview)]));
    },
    async list(camera, { after, limit }) {
      const place = after === undefined ? undefined : { ...after, takenAt: after.takenAt - wallAheadMs() };
      return shownPage(await store.list(camera, { after: place, limit }));
    },
    overview: async (camera, frames) => shownPage(await store.overview(camera, frames)),
    async read(camera, capture) {
      const found = await store.read(camera, capture);
      return found === undefined ? undefined : { preview: shown(found.preview), jpeg: found.jpeg };
    },
    close: () => store.close(),
  };
}

/** What is kept and served as a picture is whole, of a sane size, and decoded in a moment. @throws {PreviewRefusedError} */
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
