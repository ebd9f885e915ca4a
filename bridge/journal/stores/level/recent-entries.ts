import type { Entry } from "../../journal.ts";

/** What an entry costs beside its body, roughly. */
const ENTRY_CHARS = 200;

/**
 * The newest entries, in memory. A client that is a little behind - it lagged, or its link dropped for a moment - is
 * served from here: without reading, and with the very objects that followers were given.
 */
export class RecentEntries {
  readonly #maxChars: number;
  #entries: Entry[] = [];
  /** Entries before this index were given up; they leave the array when they are half of it. */
  #start = 0;
  #chars = 0;

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  /** Consecutive to those before. */
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

  /** True when every entry above the position is here. */
  reaches(after: number): boolean {
    const first = this.#entries[this.#start]?.position;
    return first !== undefined && first <= after + 1;
  }

  /** Hands out what is above `after`, up to `until`, until `take` returns false. */
  read(after: number, until: number, take: (entry: Entry) => boolean): void {
    const first = this.#entries[0]?.position ?? 0;
    for (let index = Math.max(this.#start, after + 1 - first); index < this.#entries.length; index++) {
      const entry = this.#entries[index];
      if (entry === undefined || entry.position > until || !take(entry)) return;
    }
  }
}
