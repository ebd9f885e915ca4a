import { Counts } from "../../platform/counts.ts";
import { FairQueue } from "../../platform/fair-queue.ts";
import { JpegError, readJpeg } from "../../platform/jpeg.ts";

/** The widths of thumbnails, pixels. A few fixed widths, so that clients share the made ones. */
export const THUMBNAIL_WIDTHS = [160, 320, 640] as const;
export type ThumbnailWidth = (typeof THUMBNAIL_WIDTHS)[number];

/** The thumbnails of 500 cameras in all widths take about 12 MB. */
const MAX_CACHED_BYTES = 32 * 1024 * 1024;
/** sharp works in threads of libuv, which files and DNS use too. */
const MAX_RUNNING = 2;
/** The unfinished thumbnails of one user: as many as a page of 500 cameras asks for at once. */
const MAX_WAITING_PER_USER = 500;
const QUALITY = 70;
/**
 * The most pixels times scans of a picture that is decoded: 10 scans of 1600 × 1200. A picture of several scans is held
 * in memory as a whole, and each scan passes over all of it: 10 scans of 4096 × 4096 took 0.8 s of CPU and 100 MB. A
 * picture of one scan is decoded at an eighth of its size, in 30 ms.
 */
const MAX_SCANNED_PIXELS = 20_000_000;

/** One user asked for too many thumbnails at a time. */
export class TooManyThumbnailsError extends Error {
  override name = "TooManyThumbnailsError";
}

export interface ThumbnailSource {
  /** Of the picture. Pictures with the same bytes have the same one, and the same thumbnails. */
  etag: string;
  /** Reads the picture; undefined if it has been removed. */
  read: () => Promise<Buffer | undefined>;
}

/** Makes small copies of previews, and keeps the ones used last in memory. */
export class Thumbnails {
  readonly #maxBytes: number;
  readonly #queue = new FairQueue({ maxRunning: MAX_RUNNING, maxPerOwner: 1 });
  readonly #waiting = new Counts();
  /** The one that was used longest ago comes first. */
  readonly #made = new Map<string, Buffer>();
  /** The thumbnails that users wait for, by user and thumbnail. */
  readonly #asked = new Map<string, Promise<Buffer | undefined>>();
  /** The thumbnails that are made now. */
  readonly #making = new Map<string, Promise<Buffer | undefined>>();
  #bytes = 0;

  /** @param maxBytes of all kept thumbnails together. Default 32 MiB */
  constructor(maxBytes = MAX_CACHED_BYTES) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Returns a JPEG of this width, or the picture itself if it is no wider, or cannot be decoded, or not quickly. Users
   * take turns.
   * @returns undefined if the picture has been removed
   * @throws {TooManyThumbnailsError}
   */
  async of(user: string, source: ThumbnailSource, width: ThumbnailWidth): Promise<Buffer | undefined> {
    const key = `${width} ${source.etag}`;
    const made = this.#used(key);
    if (made !== undefined) return made;
    const askedKey = `${user} ${key}`;
    const asked = this.#asked.get(askedKey);
    if (asked !== undefined) return await asked;
    if (this.#waiting.of(user) >= MAX_WAITING_PER_USER)
      throw new TooManyThumbnailsError(`at most ${MAX_WAITING_PER_USER} thumbnails of one user are made at a time`);
    this.#waiting.add(user);
    // Each user waits in a queue of its own. With a shared place, a user would wait for everything that the other user
    // asked for before.
    const turn = this.#queue.run(user, async () => this.#used(key) ?? (await this.#makeOnce(key, source, width)));
    this.#asked.set(askedKey, turn);
    try {
      return await turn;
    } finally {
      this.#asked.delete(askedKey);
      this.#waiting.subtract(user);
    }
  }

  /** The kept thumbnail, which becomes the one that was used last. */
  #used(key: string): Buffer | undefined {
    const made = this.#made.get(key);
    if (made === undefined) return undefined;
    this.#made.delete(key);
    this.#made.set(key, made);
    return made;
  }

  async #makeOnce(key: string, source: ThumbnailSource, width: ThumbnailWidth): Promise<Buffer | undefined> {
    const making = this.#making.get(key);
    if (making !== undefined) return await making;
    const work = this.#make(key, source, width);
    this.#making.set(key, work);
    try {
      return await work;
    } finally {
      this.#making.delete(key);
    }
  }

  async #make(key: string, source: ThumbnailSource, width: ThumbnailWidth): Promise<Buffer | undefined> {
    const picture = await source.read();
    if (picture === undefined) return undefined;
    const thumbnail = await shrink(picture, width);
    this.#made.set(key, thumbnail);
    this.#bytes += thumbnail.length;
    for (const [oldest, { length }] of this.#made) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#made.delete(oldest);
      this.#bytes -= length;
    }
    return thumbnail;
  }
}

async function shrink(picture: Buffer, width: ThumbnailWidth): Promise<Buffer> {
  if (!isQuick(picture)) return picture;
  // Loaded with the first thumbnail: libvips takes 20 MB, and many servers never need it.
  const { default: sharp } = await import("sharp");
  try {
    const thumbnail = await sharp(picture, { failOn: "none", sequentialRead: true })
      .autoOrient()
      .resize({ width, withoutEnlargement: true })
      .jpeg({ quality: QUALITY, mozjpeg: true })
      .toBuffer();
    return thumbnail.length < picture.length ? thumbnail : picture;
  } catch {
    // Only the markers of a picture were checked when it arrived. The browser shows what it can.
    return picture;
  }
}

function isQuick(picture: Buffer): boolean {
  try {
    const { width, height, scans } = readJpeg(picture);
    return scans === 1 || width * height * scans <= MAX_SCANNED_PIXELS;
  } catch (error) {
    if (error instanceof JpegError) return false;
    throw error;
  }
}
