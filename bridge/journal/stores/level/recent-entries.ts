import type { Entry } from "../../journal.ts";

/** The approximate memory of an entry besides its body, in characters. */
const ENTRY_CHARS = 200;

/**
 * The newest entries, in memory. They serve clients that lag a little or were disconnected for a moment, without reading
 * the store and with the same objects that followers received.
 */
export class RecentEntries {
  readonly #maxChars: number;
  #entries: Entry[] = [];
  /** Entries before this index are evicted. They are removed from the array once they are half of it. */
  #start = 0;
  #chars = 0;

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  /** Adds entries that directly follow the previous ones. */
  push(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.#entries.push(entry);
      this.#chars += entry.body.length + ENTRY_CHARS;
    }
    while (this.#chars > this.#maxChars) {
      this.#chars -= (this.#entries[this.#start]?.body.length ?? 0) + ENTRY_CHARS;
      this.#start++;
    }
    if (this.#start * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Whether every entry above the position is in memory. */
  reaches(after: number): boolean {
    const first = this.#entries[this.#start]?.position;
    return first !== undefined && first <= after + 1;
  }

  /** Passes the entries above `after`, up to and including `until`, to `take` until `take` returns false. */
  read(after: number, until: number, take: (entry: Entry) => boolean): void {
    const first = this.#entries[0]?.position ?? 0;
    for (let index = Math.max(this.#start, after + 1 - first); index < this.#entries.length; index++) {
      const entry = this.#entries[index];
      if (entry === undefined || entry.position > until || !take(entry)) return;
    }
  }
}
