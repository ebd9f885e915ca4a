import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { PreviewUpdated } from "../contract/events.ts";
import { isId } from "../contract/ids.ts";

/** The newest picture of each camera: a file each, so that a picture is on disk before its camera may forget it. */
export interface Previews {
  /**
   * Resolves when the picture, or a newer one of the same camera, is durable.
   * @throws {PreviewRefusedError} it is no JPEG, or too large: sending it again changes nothing
   */
  save(camera: string, capture: string, jpeg: Uint8Array): Promise<PreviewUpdated>;
  latest(camera: string): LatestPreview | undefined;
  /** Waits for the writes under way. */
  close(): Promise<void>;
}

export interface LatestPreview {
  /** With its quotes, as HTTP writes it. */
  etag: string;
  savedAt: Date;
  sizeBytes: number;
  contentType: "image/jpeg";
  /** The picture and the etag of exactly these bytes; undefined when it is gone. */
  read(): Promise<{ bytes: Buffer; etag: string } | undefined>;
}

export interface PreviewsOptions {
  /** The folder of the pictures; made when it is not there. */
  path: string;
  /** The largest picture, bytes. Default 65,536. */
  maxBytes?: number;
  /** Beyond this many, the camera whose picture is oldest loses it. Default 10,000. */
  maxCameras?: number;
}

/** Where HTTP serves the newest picture of a camera. */
export const LATEST_PICTURE_ROUTE = "/cameras/:id/latest.jpg";

export function latestPictureUrl(camera: string): string {
  return LATEST_PICTURE_ROUTE.replace(":id", camera);
}

/** The bytes are no picture that this system keeps. */
export class PreviewRefusedError extends Error {
  override name = "PreviewRefusedError";
}

interface Kept {
  etag: string;
  savedAt: Date;
  sizeBytes: number;
}

/** A picture that is to be written next; those that came while one was being written share the newest. */
interface Waiting {
  jpeg: Uint8Array;
  written: Promise<void>;
}

const EXTENSION = ".jpg";

export async function openPreviews(options: PreviewsOptions): Promise<Previews> {
  const { path, maxBytes = 65_536, maxCameras = 10_000 } = options;
  await mkdir(path, { recursive: true, mode: 0o700 });
  const kept = await readKept(path);
  /** The write under way of each camera, and the one that follows it. */
  const writing = new Map<string, Promise<void>>();
  const waiting = new Map<string, Waiting>();
  const fileOf = (camera: string) => join(path, camera + EXTENSION);

  async function write(camera: string, jpeg: Uint8Array): Promise<void> {
    await replaceFile(fileOf(camera), jpeg, path);
    // Re-inserted, so that the map's first is the camera whose picture is oldest.
    kept.delete(camera);
    kept.set(camera, { etag: etagOf(jpeg), savedAt: new Date(), sizeBytes: jpeg.length });
    for (const [oldest] of kept) {
      if (kept.size <= maxCameras) break;
      kept.delete(oldest);
      await rm(fileOf(oldest), { force: true });
    }
  }

  function start(camera: string, jpeg: Uint8Array): Promise<void> {
    const done = write(camera, jpeg).finally(() => writing.delete(camera));
    writing.set(camera, done);
    return done;
  }

  function enqueue(camera: string, jpeg: Uint8Array): Promise<void> {
    const underWay = writing.get(camera);
    if (underWay === undefined) return start(camera, jpeg);
    const next = waiting.get(camera);
    if (next !== undefined) {
      next.jpeg = jpeg;
      return next.written;
    }
    const followed: Waiting = { jpeg, written: Promise.resolve() };
    followed.written = underWay
      // What came of the earlier picture is its own sender's concern.
      .catch(() => undefined)
      .then(() => {
        waiting.delete(camera);
        return start(camera, followed.jpeg);
      });
    waiting.set(camera, followed);
    return followed.written;
  }

  return {
    async save(camera, capture, jpeg) {
      if (!isId(camera)) throw new PreviewRefusedError(`"${camera}" is no camera id`);
      if (jpeg.length > maxBytes)
        throw new PreviewRefusedError(`the preview has ${jpeg.length} bytes, more than ${maxBytes}: make it smaller`);
      if (!isJpeg(jpeg)) throw new PreviewRefusedError("the preview is no JPEG");
      await enqueue(camera, jpeg);
      return { capture, url: latestPictureUrl(camera), etag: etagOf(jpeg), size_bytes: jpeg.length };
    },
    latest(camera) {
      const found = kept.get(camera);
      if (found === undefined) return undefined;
      return { ...found, contentType: "image/jpeg", read: () => readPicture(fileOf(camera)) };
    },
    async close() {
      while (writing.size > 0 || waiting.size > 0) {
        await Promise.allSettled([...writing.values(), ...[...waiting.values()].map(({ written }) => written)]);
      }
    },
  };
}

/** What was there at the last run, oldest first. Half-written files of a program that was killed are removed. */
async function readKept(path: string): Promise<Map<string, Kept>> {
  const found: [string, Kept][] = [];
  for (const name of await readdir(path)) {
    const camera = name.slice(0, -EXTENSION.length);
    if (name.endsWith(".tmp")) await rm(join(path, name), { force: true });
    else if (name.endsWith(EXTENSION) && isId(camera)) {
      const bytes = await readFile(join(path, name));
      const { mtime } = await stat(join(path, name));
      found.push([camera, { etag: etagOf(bytes), savedAt: mtime, sizeBytes: bytes.length }]);
    }
  }
  return new Map(found.sort(([, a], [, b]) => a.savedAt.getTime() - b.savedAt.getTime()));
}

/** Replaces a file so that after a crash there is the old one or the new one, whole, and after this resolves the new. */
async function replaceFile(file: string, content: Uint8Array, folder: string): Promise<void> {
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  const directory = await open(folder, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function readPicture(file: string): Promise<{ bytes: Buffer; etag: string } | undefined> {
  try {
    const bytes = await readFile(file);
    // Of the bytes that were read: a newer picture may have taken the file's place since the caller looked.
    return { bytes, etag: etagOf(bytes) };
  } catch {
    return undefined;
  }
}

function etagOf(bytes: Uint8Array): string {
  return `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 27)}"`;
}

/** Begins as every JPEG does (SOI marker, ISO/IEC 10918-1 B.1.1.3) and is more than that. */
function isJpeg(bytes: Uint8Array): boolean {
  return bytes.length > 4 && bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}
