import type { Picture, Pictures } from "./pictures.ts";

/** Loads under way at once: enough to fill a strip quickly, and few beside the live picture on a slow link. */
const MAX_LOADS = 3;
/** Pictures held; more than a strip has. */
const MAX_HELD = 160;

/** The pictures of one camera's strip, each loaded once and only when it is asked for, a few at a time. */
export class Film {
  readonly #pictures: Pick<Pictures, "frame">;
  readonly #camera: string;
  /** The one held longest first. */
  readonly #held = new Map<string, Picture>();
  readonly #loading = new Map<string, Promise<Picture | undefined>>();
  readonly #waiting: (() => void)[] = [];
  readonly #ending = new AbortController();
  #loads = 0;

  constructor(pictures: Pick<Pictures, "frame">, camera: string) {
    this.#pictures = pictures;
    this.#camera = camera;
  }

  held(capture: string): Picture | undefined {
    return this.#held.get(capture);
  }

  /** Undefined when it cannot be had; asked for again, it is tried again. */
  load(capture: string): Promise<Picture | undefined> {
    const held = this.#held.get(capture);
    if (held !== undefined) return Promise.resolve(held);
    const underWay = this.#loading.get(capture);
    if (underWay !== undefined) return underWay;
    const loading = this.#load(capture).finally(() => this.#loading.delete(capture));
    this.#loading.set(capture, loading);
    return loading;
  }

  /** Lets go of everything. */
  close(): void {
    this.#ending.abort();
    for (const start of this.#waiting.splice(0)) start();
    for (const picture of this.#held.values()) picture.release();
    this.#held.clear();
  }

  async #load(capture: string): Promise<Picture | undefined> {
    if (this.#loads >= MAX_LOADS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const { signal } = this.#ending;
    if (signal.aborted) return undefined;
    this.#loads++;
    try {
      const picture = await this.#pictures.frame(this.#camera, capture, signal);
      this.#held.set(capture, picture);
      for (const [oldest, old] of this.#held) {
        if (this.#held.size <= MAX_HELD) break;
        this.#held.delete(oldest);
        old.release();
      }
      return picture;
    } catch {
      return undefined;
    } finally {
      this.#loads--;
      // The newest wish first: it is what is in sight now.
      this.#waiting.pop()?.();
    }
  }
}
