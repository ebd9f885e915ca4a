import type { PreviewCursor, PreviewRange, StoredPreview } from "./preview-store.ts";

/** The previews of one camera in the order in which they were taken. */
export class CameraPreviews {
  /** Oldest first. */
  readonly #previews: StoredPreview[] = [];
  readonly #byCapture = new Map<string, StoredPreview>();
  #bytes = 0;

  get size(): number {
    return this.#previews.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get oldest(): StoredPreview | undefined {
    return this.#previews[0];
  }

  get newest(): StoredPreview | undefined {
    return this.#previews.at(-1);
  }

  get(capture: string): StoredPreview | undefined {
    return this.#byCapture.get(capture);
  }

  add(preview: StoredPreview): void {
    this.#previews.splice(this.#indexOf(preview), 0, preview);
    this.#byCapture.set(preview.capture, preview);
    this.#bytes += preview.sizeBytes;
  }

  remove(preview: StoredPreview): void {
    const index = this.#indexOf(preview);
    if (this.#previews[index] !== preview) return;
    this.#previews.splice(index, 1);
    this.#byCapture.delete(preview.capture);
    this.#bytes -= preview.sizeBytes;
  }

  /** The previews that arrived at `since` or later and were taken in the range, newest first. */
  descending(since: number, { from = 0, to = Number.POSITIVE_INFINITY }: PreviewRange): StoredPreview[] {
    const previews = this.#previews.filter(
      ({ savedAt, takenAt }) => savedAt >= since && takenAt >= from && takenAt <= to,
    );
    return previews.reverse();
  }

  /** The previews that arrived before `since`, except the camera's newest preview. */
  arrivedBefore(since: number): StoredPreview[] {
    const { newest } = this;
    return this.#previews.filter((preview) => preview.savedAt < since && preview !== newest);
  }

  /** Finds a preview, or the position to insert it. */
  #indexOf({ takenAt, capture }: PreviewCursor): number {
    let low = 0;
    let high = this.#previews.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#previews[middle];
      if (other !== undefined && isBefore(other, { takenAt, capture })) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Whether a preview comes before another in the order of their capture. */
export function isBefore(one: PreviewCursor, other: PreviewCursor): boolean {
  return one.takenAt < other.takenAt || (one.takenAt === other.takenAt && one.capture < other.capture);
}
