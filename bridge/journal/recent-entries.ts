import type { Entry } from "./journal.ts";

/** The approximate memory of an entry besides its body, in characters. */
const ENTRY_CHARS = 200;

export interface RecentEntriesLimits {
  /** The characters of the bodies, plus {@link ENTRY_CHARS} for each entry. */
  maxChars: number;
  /** Default: no limit. */
  maxEntries?: number;
}

/**
 * The newest entries of the journal, in memory and without gaps between their positions. They serve a client that is a
 * little behind, because it lagged or its link dropped for a moment, without reading the disk.
 *
 * The store and delivery each have an instance, for three reasons:
 * - Entries of the store name logs, and entries of delivery name channels. The names differ when a busy sender has a
 *   separate log (`shared-channels.ts`), and would have to be mapped at each read.
 * - Pages of the store omit entries that retention has removed. Delivery sends these entries: otherwise a client that
 *   lags by hundreds of events would get a gap if its channel keeps fewer events.
 * - Delivery reads up to the last entry that it has routed. The store may be one batch ahead.
 */
export class RecentEntries {
  readonly #maxChars: number;
  readonly #maxEntries: number;
  #entries: Entry[] = [];
  /** The index of the oldest entry. Evicted entries before it stay in the array until they are half of it. */
  #start = 0;
  #chars = 0;

  constructor({ maxChars, maxEntries = Number.POSITIVE_INFINITY }: RecentEntriesLimits) {
    this.#maxChars = maxChars;
    this.#maxEntries = maxEntries;
  }

  /** Adds the entries that follow the last one, and evicts the oldest beyond the limits. */
  push(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#chars += entry.body.length + ENTRY_CHARS;
    }
    while (this.#chars > this.#maxChars || this.#entries.length - this.#start > this.#maxEntries) {
      this.#chars -= (this.#entries[this.#start]?.body.length ?? 0) + ENTRY_CHARS;
      this.#start++;
    }
    if (this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Call this when the journal continues at another position. */
  clear(): void {
    this.#entries = [];
    this.#start = 0;
    this.#chars = 0;
  }

  /** Whether every entry above the position is in memory. False while there are no entries. */
  reaches(after: number): boolean {
    const first = this.#entries[this.#start]?.position;
    return first !== undefined && first <= after + 1;
  }

  /** Calls `take` with each entry above `after` and up to `until`, in order, until `take` returns false. */
  read(after: number, until: number, take: (entry: Entry) => boolean): void {
    const first = this.#entries[0]?.position ?? 0;
    for (let index = Math.max(this.#start, after + 1 - first); index < this.#entries.length; index++) {
      const entry = this.#entries[index];
      if (entry === undefined || entry.position > until || !take(entry)) return;
    }
  }
}
