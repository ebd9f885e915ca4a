import { createHash } from "node:crypto";
import type { PreviewUpdated } from "../../contract/events.ts";
import { isId } from "../../contract/ids.ts";
import { JpegError, readJpeg } from "../../platform/jpeg.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { JUMP_MS } from "../clock/clock-state.ts";
import { captureTime } from "./capture-time.ts";
import type { PreviewLimits } from "./config.ts";
import { FilePreviewStore } from "./file-store.ts";
import {
  DEFAULT_PREVIEW_LIMITS,
  type PreviewPage,
  type PreviewRange,
  type PreviewStore,
  type StoredPreview,
} from "./preview-store.ts";
import { RedisPreviewStore } from "./redis-store.ts";

/** The previews of each camera: those that arrived in the last 48 hours, and always the newest. */
export interface Previews extends Pick<PreviewStore, "newest" | "list" | "overview" | "close"> {
  /**
   * Stores a preview. Resolves when the preview is durable; only then does the camera receive its acknowledgement.
   * Saving the same preview again changes nothing.
   * @param sender.senderAheadMs how far the camera's clock is ahead of the system's clock; 0 if the difference is small
   * or unknown
   * @throws {PreviewRefusedError} the preview is not a JPEG, or too large: sending it again would not help
   * @throws any other error if the preview cannot be written: the camera sends it again
   */
  save(camera: string, capture: string, jpeg: Uint8Array, sender?: { senderAheadMs: number }): Promise<SavedPreview>;
  /** @param capture default: the newest preview */
  read(camera: string, capture?: string): ReturnType<PreviewStore["read"]>;
}

interface SavedPreview {
  updated: PreviewUpdated;
  /** False for a preview from a backlog: the camera has a newer one. */
  newest: boolean;
}

export interface PreviewsOptions extends Partial<PreviewLimits> {
  /** The folder of the previews; created if missing. */
  path: string;
  /** Default: {@link MAX_PREVIEW_BYTES}. */
  maxPictureBytes?: number;
  /** The server's own clock. Default: the system's. */
  now?: () => number;
  /** The system's clock, for times that people see. Default: `now`. */
  wall?: () => number;
}

/** The largest preview that the contract allows, bytes. */
export const MAX_PREVIEW_BYTES = 65_536;
/** Width and height. A JPEG of 64 KiB with larger dimensions is an attack on the memory of programs that decode it. */
const MAX_PREVIEW_PIXELS = 4096;

export const LATEST_PICTURE_ROUTE = "/cameras/:id/latest.jpg";
export const PICTURES_ROUTE = "/cameras/:id/previews";

export const latestPictureUrl = (camera: string) => LATEST_PICTURE_ROUTE.replace(":id", camera);
export const picturesUrl = (camera: string) => PICTURES_ROUTE.replace(":id", camera);
export const pictureUrl = (camera: string, capture: string) => `${picturesUrl(camera)}/${capture}.jpg`;

export class PreviewRefusedError extends Error {
  override name = "PreviewRefusedError";
}

/** Keeps previews in files of this node. */
export async function openPreviews({ path, ...options }: PreviewsOptions): Promise<Previews> {
  const limits = { ...DEFAULT_PREVIEW_LIMITS, ...options };
  const store = new FilePreviewStore({ path, limits, now: options.now ?? Date.now });
  await store.load();
  return createPreviews(store, options);
}

/** Keeps previews in Redis, shared by all nodes. */
export function openRedisPreviews(options: Omit<PreviewsOptions, "path"> & { redis: RedisConnections }): Previews {
  const limits = { ...DEFAULT_PREVIEW_LIMITS, ...options };
  return createPreviews(new RedisPreviewStore({ redis: options.redis, limits, now: options.now ?? Date.now }), options);
}

function createPreviews(
  store: PreviewStore,
  { maxPictureBytes: maxBytes = MAX_PREVIEW_BYTES, now = Date.now, wall = now }: Omit<PreviewsOptions, "path">,
): Previews {
  /** How far the system's clock is ahead of the store's clock, in whole minutes. */
  const wallAheadMs = () => {
    const aheadMs = wall() - now();
    return Math.abs(aheadMs) <= JUMP_MS ? 0 : Math.round(aheadMs / 60_000) * 60_000;
  };
  const bySystemClock = (preview: StoredPreview): StoredPreview => {
    const aheadMs = wallAheadMs();
    if (aheadMs === 0) return preview;
    return { ...preview, takenAt: preview.takenAt + aheadMs, savedAt: preview.savedAt + aheadMs };
  };
  const byStoreClock = ({ from, to }: PreviewRange): PreviewRange => ({
    from: from && from - wallAheadMs(),
    to: to && to - wallAheadMs(),
  });
  const pageBySystemClock = ({ previews, total }: PreviewPage) => ({ previews: previews.map(bySystemClock), total });
  return {
    async save(camera, capture, jpeg, { senderAheadMs } = { senderAheadMs: 0 }) {
      // Ids become parts of paths and keys.
      if (!isId(camera)) throw new PreviewRefusedError(`"${camera}" is not a camera id`);
      if (!isId(capture)) throw new PreviewRefusedError(`"${capture}" is not a capture id`);
      const sizeBytes = jpeg.length;
      if (sizeBytes > maxBytes)
        throw new PreviewRefusedError(`the preview has ${sizeBytes} bytes, more than ${maxBytes}: make it smaller`);
      refuseUnreadable(jpeg);
      const savedAt = now();
      const namedTime = captureTime(capture, wall(), senderAheadMs);
      const takenAt = namedTime === undefined ? savedAt : namedTime - wallAheadMs();
      const etag = etagOf(jpeg);
      const newest = await store.put(camera, { capture, takenAt, savedAt, etag, sizeBytes }, jpeg);
      const updated = { capture, url: latestPictureUrl(camera), etag, size_bytes: sizeBytes };
      if (namedTime === undefined) return { updated, newest };
      return { updated: { ...updated, taken_at: new Date(namedTime).toISOString() }, newest };
    },
    async newest(cameras) {
      const found = await store.newest(cameras);
      return new Map([...found].map(([camera, preview]) => [camera, bySystemClock(preview)]));
    },
    async list(camera, { after, limit, ...range }) {
      const cursor = after === undefined ? undefined : { ...after, takenAt: after.takenAt - wallAheadMs() };
      return pageBySystemClock(await store.list(camera, { after: cursor, limit, ...byStoreClock(range) }));
    },
    overview: async (camera, frames, range = {}) =>
      pageBySystemClock(await store.overview(camera, frames, byStoreClock(range))),
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

const etagOf = (bytes: Uint8Array) => `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 27)}"`;
