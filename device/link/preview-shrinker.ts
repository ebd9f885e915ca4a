import { createPreview } from "./previews.ts";

/** More previews than can be in flight. */
const MAX_KEPT = 32;
const WIDTHS: readonly (readonly [maxBytes: number, width: number])[] = [
  [4096, 160],
  [12_288, 320],
  [32_768, 640],
];
const LARGEST_WIDTH = 960;

/** Shrinks previews for a slow link. Keeps them, because the server recognises a duplicate by equal bytes. */
export class PreviewShrinker {
  readonly #kept = new Map<string, Buffer>();
  /** One at a time, because a decoded picture takes megabytes. */
  #last: Promise<unknown> = Promise.resolve();

  has(topic: string): boolean {
    return this.#kept.has(topic);
  }

  shrink(topic: string, jpeg: Buffer, maxBytes: number): Promise<Buffer> {
    const shrunk = this.#last.then(() => this.#shrink(topic, jpeg, maxBytes));
    this.#last = shrunk;
    return shrunk;
  }

  forget(topic: string): void {
    this.#kept.delete(topic);
  }

  async #shrink(topic: string, jpeg: Buffer, maxBytes: number): Promise<Buffer> {
    const kept = this.#kept.get(topic);
    if (kept !== undefined) return kept;
    const width = WIDTHS.find(([bytes]) => maxBytes <= bytes)?.[1] ?? LARGEST_WIDTH;
    const shrunk = await createPreview(jpeg, { width, maxBytes }).catch(() => jpeg);
    this.#kept.set(topic, shrunk);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break;
      this.#kept.delete(oldest);
    }
    return shrunk;
  }
}
