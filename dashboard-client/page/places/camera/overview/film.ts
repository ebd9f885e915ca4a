import type { Picture, Pictures } from "../../../pictures.ts";

/** The most concurrent loads. More loads would delay the live picture on a slow link. */
const MAX_LOADS = 3;
/** The most pictures in memory, more than a filmstrip shows. */
const MAX_HELD = 160;

export class Film {
  readonly #pictures: Pick<Pictures, "frame">;
  readonly #camera: string;
  /** By capture, the oldest entry first. */
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

  /** Resolves to undefined if the picture cannot be loaded. The next call tries again. */
  load(capture: string): Promise<Picture | undefined> {
    const held = this.#held.get(capture);
    if (held !== undefined) return Promise.resolve(held);
    const underWay = this.#loading.get(capture);
    if (underWay !== undefined) return underWay;
    const loading = this.#load(capture).finally(() => this.#loading.delete(capture));
    this.#loading.set(capture, loading);
    return loading;
  }

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
      // The latest request starts first, because its picture is visible now.
      this.#waiting.pop()?.();
    }
  }
}
