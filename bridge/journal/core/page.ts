import type { Entry, ReplayPage, ReplayRequest } from "../journal.ts";
import type { Channel } from "./channels.ts";

const DEFAULT_PAGE_EVENTS = 100;
const DEFAULT_PAGE_BYTES = 256 * 1024;

/** A request for a page, with defaults and limits applied. */
export interface PageRequest {
  logs: readonly Channel[];
  after: number;
  until: number;
  maxEvents: number;
  maxBytes: number;
}

/** @param head the newest position */
export function pageRequestOf(request: ReplayRequest, logs: readonly Channel[], head: number): PageRequest {
  // The channels have no entries below the lowest of their floors.
  const after = Math.max(request.after, Math.min(...logs.map(({ floor }) => floor)));
  return { logs, after, until: Math.min(request.until ?? head, head), ...pageLimitsOf(request) };
}

export function pageLimitsOf({ maxEvents, maxBytes }: Pick<ReplayRequest, "maxEvents" | "maxBytes">) {
  return { maxEvents: Math.max(1, maxEvents ?? DEFAULT_PAGE_EVENTS), maxBytes: maxBytes ?? DEFAULT_PAGE_BYTES };
}

/** Collects the entries of a page. */
export class Page {
  readonly #request: PageRequest;
  readonly #entries: Entry[] = [];
  #chars = 0;
  #isFull = false;

  constructor(request: PageRequest) {
    this.#request = request;
  }

  /** Returns the position above which entries with these channels belong to the page. */
  readonly floorOf = (channels: readonly string[]): number => {
    let floor = Number.POSITIVE_INFINITY;
    for (const log of this.#request.logs) if (log.floor < floor && channels.includes(log.name)) floor = log.floor;
    return Math.max(floor, this.#request.after);
  };

  /** Adds an entry. @returns false when the page ends before the entry */
  readonly take = (entry: Entry): boolean => {
    const { until, maxEvents, maxBytes } = this.#request;
    if (entry.position > until) return false;
    const chars = this.#chars + entry.body.length;
    this.#isFull = this.#entries.length >= maxEvents || (chars > maxBytes && this.#entries.length > 0);
    if (this.#isFull) return false;
    this.#chars = chars;
    this.#entries.push(entry);
    return true;
  };

  /** Adds an entry if it belongs to a requested channel. @returns false when the page ends before the entry */
  readonly takeIfRequested = (entry: Entry): boolean =>
    entry.position > this.floorOf(entry.channels) ? this.take(entry) : true;

  /** @param end the position up to which all entries were added. Default: `until` */
  finish(end = this.#request.until): ReplayPage {
    const { after, until } = this.#request;
    const next = this.#isFull ? (this.#entries.at(-1)?.position ?? after) : end;
    return { entries: this.#entries, next, done: next === until };
  }
}
