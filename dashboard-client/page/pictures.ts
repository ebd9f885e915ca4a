import { type PreviewList, previewListSchema } from "../../contract/events.ts";
import type { Access } from "./access.ts";

/** A picture in this page's memory. `release` when it is no longer shown. */
export interface Picture {
  /** A `blob:` address: the picture needs a token, which an `<img>` cannot send. */
  src: string;
  etag: string | undefined;
  /** When the server received it, milliseconds since 1970. */
  receivedAt: number | undefined;
  /** When it was taken, RFC 3339, where that is known. */
  takenAt: string | undefined;
  width: number;
  height: number;
  release(): void;
}

/** What the server says of a camera without one. */
export class NoPictureYetError extends Error {
  override name = "NoPictureYetError";
}

export interface PicturesOptions {
  base: string;
  access: Access;
  fetch: typeof fetch;
}

export class Pictures {
  readonly #options: PicturesOptions;

  constructor(options: PicturesOptions) {
    this.#options = options;
  }

  /** The camera's latest picture, decoded, so that it can be shown without a flash. */
  latest(camera: string, signal: AbortSignal): Promise<Picture> {
    return this.#picture(["cameras", camera, "latest.jpg"], signal);
  }

  /** One picture of the last 48 hours. */
  frame(camera: string, capture: string, signal: AbortSignal): Promise<Picture> {
    return this.#picture(["cameras", camera, "previews", `${capture}.jpg`], signal);
  }

  /** At most `frames` pictures, spread over the last 48 hours, newest first. */
  async film(camera: string, frames: number, signal: AbortSignal): Promise<PreviewList> {
    const url = this.#address(["cameras", camera, "previews"]);
    url.searchParams.set("frames", String(frames));
    const response = await this.#get(url, signal);
    return previewListSchema.parse(await response.json());
  }

  async #picture(path: readonly string[], signal: AbortSignal): Promise<Picture> {
    const response = await this.#get(this.#address(path), signal);
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
        etag: response.headers.get("etag") ?? undefined,
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

  /** Made here and not taken from an event or an answer: a token is never sent where those say. */
  #address(path: readonly string[]): URL {
    return new URL(path.map(encodeURIComponent).join("/"), this.#options.base);
  }

  async #get(url: URL, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(url, signal);
    if (response.status === 404) throw new NoPictureYetError("This camera has sent no such picture");
    if (response.status === 401) this.#options.access.forgetToken();
    if (!response.ok) throw new Error(`The picture could not be loaded (HTTP ${response.status})`);
    return response;
  }

  /** Without the network, the browser's own copy. */
  async #fetch(url: URL, signal: AbortSignal): Promise<Response> {
    try {
      const authorization = `Bearer ${await this.#options.access.current()}`;
      return await this.#options.fetch(url, { headers: { authorization }, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      const kept = await this.#options
        .fetch(url, { cache: "only-if-cached", mode: "same-origin", signal })
        .catch(() => undefined);
      if (kept?.ok) return kept;
      throw error;
    }
  }
}
