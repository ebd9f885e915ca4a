import type { Entry, JournalPage, ReadRequest } from "../journal.ts";
import { pageLimitsOf } from "./page.ts";

/** Collects the entries of a page of the whole journal. Ends the page before positions that are missing. */
export class WholePage {
  readonly after: number;
  readonly until: number;
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly #entries: Entry[] = [];
  #bytes = 0;
  /** Whether the page refused an entry: the page was full, or positions before the entry are missing. */
  #isEnded = false;

  /** @param until the newest position */
  constructor(request: ReadRequest, until: number) {
    const { maxEvents, maxBytes } = pageLimitsOf(request);
    this.after = request.after;
    this.until = until;
    this.maxEvents = maxEvents;
    this.maxBytes = maxBytes;
  }

  /** Adds the next entry that the store has. @returns false when the page ends before the entry */
  readonly take = (entry: Entry): boolean => {
    const last = this.#entries.at(-1);
    // An entry above `until` was written while the page was read.
    if (entry.position > this.until) return false;
    const bytes = this.#bytes + entry.body.length;
    if (last !== undefined && entry.position !== last.position + 1) this.#isEnded = true;
    if (this.#entries.length >= this.maxEvents || (bytes > this.maxBytes && last !== undefined)) this.#isEnded = true;
    if (this.#isEnded) return false;
    this.#bytes = bytes;
    this.#entries.push(entry);
    return true;
  };

  /** @param highestFloor the highest position that retention may have removed */
  finish(highestFloor: number): JournalPage {
    const { after, until } = this;
    const [first] = this.#entries;
    const next = this.#entries.at(-1)?.position ?? Math.max(after, until);
    const before = first?.position ?? next + 1;
    if (before <= after + 1) return { entries: this.#entries, next };
    const reason = before - 1 <= highestFloor ? "trimmed" : "damaged";
    return { entries: this.#entries, next, gap: { after, before, reason } };
  }
}
