import type { Entry } from "../journal/journal.ts";

/** A run of entries, and the position up to and with which nothing else matches. */
export interface EntryRange {
  entries: readonly Entry[];
  next: number;
}

export interface RecentEntriesLimits {
  /** Default 1,000. */
  maxEntries?: number;
  /** Of event bodies, UTF-16 units. Default 1,048,576. */
  maxLength?: number;
}

/**
 * The newest entries, kept in memory. A reader of the disk never gets to the end of a busy journal: while it reads,
 * more is appended. From here the last stretch is read at once, so whoever gets this far steps into live delivery
 * without a hole and without a repetition.
 */
export class RecentEntries {
  readonly #maxEntries: number;
  readonly #maxLength: number;
  #entries: Entry[] = [];
  /** Of the oldest in {@link RecentEntries.#entries}; those before have been dropped. */
  #first = 0;
  #length = 0;
  #after: number;
  #edge: number;

  /** @param edge the newest position when nothing has been pushed */
  constructor(edge: number, { maxEntries = 1_000, maxLength = 1_048_576 }: RecentEntriesLimits = {}) {
    this.#edge = edge;
    this.#after = edge;
    this.#maxEntries = maxEntries;
    this.#maxLength = maxLength;
  }

  /** The newest position that followers were told of. */
  get edge(): number {
    return this.#edge;
  }

  /** Forgets everything: the journal goes on from another position. */
  reset(edge: number): void {
    this.#entries = [];
    this.#first = 0;
    this.#length = 0;
    this.#after = edge;
    this.#edge = edge;
  }

  /** Everything above this position is here. */
  get after(): number {
    return this.#after;
  }

  push(entry: Entry): void {
    this.#entries.push(entry);
    this.#length += entry.body.length;
    this.#edge = entry.position;
    while (this.#entries.length - this.#first > this.#maxEntries || this.#length > this.#maxLength) this.#drop();
  }

  /** Entries of any of the channels above `after` and up to `until`, a page at most. `after` must not be below {@link RecentEntries.after}. */
  read(
    channels: ReadonlySet<string>,
    after: number,
    until: number,
    maxEvents: number,
    maxLength: number,
  ): EntryRange | undefined {
    if (after < this.#after) return undefined;
    const found: Entry[] = [];
    let length = 0;
    for (let index = this.#indexAfter(after); index < this.#entries.length; index++) {
      const entry = this.#entries[index];
      if (entry === undefined || entry.position > until) break;
      if (!entry.channels.some((channel) => channels.has(channel))) continue;
      if (found.length === maxEvents || (found.length > 0 && length + entry.body.length > maxLength))
        return { entries: found, next: found.at(-1)?.position ?? after };
      found.push(entry);
      length += entry.body.length;
    }
    return { entries: found, next: Math.min(until, this.#edge) };
  }

  #drop(): void {
    const oldest = this.#entries[this.#first];
    if (oldest === undefined) return;
    this.#after = oldest.position;
    this.#length -= oldest.body.length;
    this.#first++;
    if (this.#first * 2 < this.#entries.length) return;
    this.#entries = this.#entries.slice(this.#first);
    this.#first = 0;
  }

  #indexAfter(position: number): number {
    let low = this.#first;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#entries[middle]?.position ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
