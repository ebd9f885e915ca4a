import { createPreview } from "../cameras/previews.ts";

/** Pictures that were made smaller and wait for their acknowledgement: more than can be under way. */
const MAX_KEPT = 32;
/** A picture that is to be this small need not be wide. */
const WIDTHS: readonly (readonly [maxBytes: number, width: number])[] = [
  [4096, 160],
  [12_288, 320],
  [32_768, 640],
];

/** Makes previews small enough for a slow link, each to the same bytes when it is sent again: the server knows it by them. */
export class SmallerPictures {
  readonly #kept = new Map<string, Buffer>();
  /** One after the other: unpacked, each takes megabytes. */
  #last: Promise<unknown> = Promise.resolve();

  has(name: string): boolean {
    return this.#kept.has(name);
  }

  /** @returns the picture as it is, when it cannot be made smaller */
  smaller(name: string, jpeg: Buffer, maxBytes: number): Promise<Buffer> {
    const picture = this.#last.then(() => this.#make(name, jpeg, maxBytes));
    this.#last = picture;
    return picture;
  }

  async #make(name: string, jpeg: Buffer, maxBytes: number): Promise<Buffer> {
    const kept = this.#kept.get(name);
    if (kept !== undefined) return kept;
    const width = WIDTHS.find(([bytes]) => maxBytes <= bytes)?.[1] ?? 960;
    const picture = await createPreview(jpeg, { width, maxBytes }).catch(() => jpeg);
    this.#kept.set(name, picture);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_KEPT) break;
      this.#kept.delete(oldest);
    }
    return picture;
  }

  forget(name: string): void {
    this.#kept.delete(name);
  }
}
