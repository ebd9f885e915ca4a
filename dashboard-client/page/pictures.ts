import type { Access } from "./access.ts";
import { keepPicture, keptPicture } from "./offline/picture-cache.ts";
import type { PictureWidth } from "./picture-width.ts";

/** A picture in the memory of this page. Call `release` when the picture disappears. */
export interface Picture {
  /** A `blob:` address, because an `<img>` cannot send a token. */
  src: string;
  /** The etag of the whole picture, also for a thumbnail. */
  etag: string | undefined;
  /** When the server received the picture, milliseconds since 1970. */
  receivedAt: number | undefined;
  /** When the picture was taken, if known, RFC 3339. */
  takenAt: string | undefined;
  width: number;
  height: number;
  release(): void;
}

export class NoPictureYetError extends Error {
  override name = "NoPictureYetError";
}

export class Pictures {
  readonly #base: string;
  readonly #access: Access;
  /** The requests under way. */
  readonly #loading = new Set<Promise<unknown>>();

  constructor(base: string, access: Access) {
    this.#base = base;
    this.#access = access;
  }

  /** The latest picture, already decoded, so that it appears without flicker. */
  latest(camera: string, signal: AbortSignal, width?: PictureWidth): Promise<Picture> {
    return this.#counted(this.#picture(["cameras", camera, "latest.jpg"], signal, width, true));
  }

  frame(camera: string, capture: string, signal: AbortSignal, width?: PictureWidth): Promise<Picture> {
    return this.#counted(this.#picture(["cameras", camera, "previews", `${capture}.jpg`], signal, width));
  }

  /** Resolves once all pictures are loaded that are wanted now, or have failed. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#loading);
  }

  #counted(picture: Promise<Picture>): Promise<Picture> {
    const counted = picture.finally(() => this.#loading.delete(counted));
    this.#loading.add(counted);
    return counted;
  }

  /** @param isKept for a start without a connection */
  async #picture(
    path: readonly string[],
    signal: AbortSignal,
    width: PictureWidth | undefined,
    isKept = false,
  ): Promise<Picture> {
    const url = this.#address(path);
    if (width !== undefined) url.searchParams.set("width", String(width));
    const response = await this.#get(url, signal);
    if (isKept) void keepPicture(url, response.clone());
    const src = URL.createObjectURL(await response.blob());
    const release = (): void => URL.revokeObjectURL(src);
    try {
      const image = new Image();
      image.src = src;
      await image.decode();
      signal.throwIfAborted();
      const receivedAt = Date.parse(response.headers.get("last-modified") ?? "");
      return {
        src,
        // The etag of a thumbnail is that of its picture with the width at the end.
        etag: response.headers.get("etag")?.replace(`-${width}"`, '"'),
        receivedAt: Number.isNaN(receivedAt) ? undefined : receivedAt,
        takenAt: response.headers.get("x-taken-at") ?? undefined,
        width: image.naturalWidth,
        height: image.naturalHeight,
        release,
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** An address from an event or a response could redirect the token to another server. */
  #address(path: readonly string[]): URL {
    return new URL(path.map(encodeURIComponent).join("/"), this.#base);
  }

  async #get(url: URL, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(url, signal);
    if (response.status === 404) throw new NoPictureYetError("The server has no such picture of this camera");
    if (!response.ok) throw new Error(`The picture could not be loaded (HTTP ${response.status})`);
    return response;
  }

  /** Uses a kept picture if the network fails. */
  async #fetch(url: URL, signal: AbortSignal): Promise<Response> {
    try {
      return await this.#access.get(url, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      const inBrowser = () =>
        fetch(url, { cache: "only-if-cached", mode: "same-origin", signal }).catch(() => undefined);
      const kept = (await keptPicture(url)) ?? (await inBrowser());
      if (kept?.ok) return kept;
      throw error;
    }
  }
}
