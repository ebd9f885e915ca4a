import type { Entry, Journal, Recovery, StateEntry } from "../journal/journal.ts";
import type { RecentEntries } from "../journal/recent-entries.ts";
import { shows } from "./channel-filter.ts";
import { eventText, type Label, textFrames } from "./frames.ts";

const MAX_PAGE_EVENTS = 100;
const MAX_PAGE_BYTES = 262_144;
/** Pages are cached because a thousand clients that reconnect at once read the same pages. */
const MAX_CACHED_BYTES = 4 * 1_048_576;
const MAX_CACHED_PAGES = 512;
const MAX_CACHED_SNAPSHOTS = 64;

export type PageRequest = SnapshotRequest | EntriesRequest;

export interface SnapshotRequest {
  kind: "snapshot";
  channel: string;
  snapshot: Snapshot;
  /** The index of the page's first entry. */
  next: number;
}

export interface EntriesRequest {
  kind: "entries";
  channels: ReadonlySet<string>;
  /** By channel: the position after which its events are sent. A position below `after` has no effect. */
  begins: ReadonlyMap<string, number>;
  /** By channel: the end of the gap that was reported to the reader, if the gap contains events that are kept. */
  reportedGaps: ReadonlyMap<string, number>;
  after: number;
  until: number;
  /** The channels under which the entry is sent; undefined for an entry that this reader does not get. */
  label: (entry: StateEntry) => Label | undefined;
  /** Whether the page omits state that a later entry replaces. */
  coalesce: boolean;
  /** Requests for the same page have equal keys; undefined for a request that no other reader makes. */
  key: string | undefined;
}

export interface Page {
  frames: Buffer | undefined;
  events: number;
  /** Where the next page begins: a position, or an index within a snapshot. */
  next: number;
  /** The channels with entries that belong to this page, but are missing in the journal. */
  lost: readonly Lost[];
}

export interface Lost extends Omit<Extract<Recovery, { complete: false }>, "complete"> {
  channel: string;
}

/** The events that are not retained, but belong to the state of a channel. */
export type LatestEvents = (channel: string) => readonly StateEntry[];

/** A channel's state at one moment, in order of position. */
export interface Snapshot {
  entries: readonly StateEntry[];
  key: string | undefined;
}

/** The journal in pages of encoded frames. A page for several readers is read and encoded once. */
export class PageCache {
  readonly #journal: Journal;
  readonly #recentEntries: RecentEntries;
  readonly #latest: LatestEvents;
  /** By the key of the request, the least recently used first. */
  readonly #cache = new Map<string, Page>();
  #cachedBytes = 0;
  readonly #snapshots = new Map<string, { head: number; entries: readonly StateEntry[] }>();

  constructor(journal: Journal, recentEntries: RecentEntries, latest: LatestEvents = () => []) {
    this.#journal = journal;
    this.#recentEntries = recentEntries;
    this.#latest = latest;
  }

  /** @returns undefined when the page must be read from the store */
  fromMemory(request: EntriesRequest): Page | undefined {
    const { key, after, until } = request;
    const cached = key === undefined ? undefined : this.#cached(key);
    if (cached !== undefined) return cached;
    if (!this.#recentEntries.reaches(after)) return undefined;
    const { entries, isFull } = this.#recent(request);
    const next = isFull ? (entries.at(-1)?.position ?? after) : until;
    return this.#keep(key, { ...this.#encode(entries, request), next, lost: [] });
  }

  /** @throws {StoreUnavailableError} the store cannot be read now */
  async read(request: EntriesRequest): Promise<Page> {
    const { key, channels, after, until } = request;
    const { epoch } = this.#journal;
    const limits = { maxEvents: MAX_PAGE_EVENTS, maxBytes: MAX_PAGE_BYTES };
    const { entries, next } = await this.#journal.replay({ channels: [...channels], after, until, ...limits });
    // Determined after reading, so that events that were trimmed during the read are reported as missing.
    const lost = this.#lost(request);
    const states = this.#trimmedStates(request, entries, next);
    const page = { ...this.#encode(entries, request, states), next, lost };
    return lost.length === 0 && epoch === this.#journal.epoch ? this.#keep(key, page) : page;
  }

  /** The current state of a channel. All clients that subscribe before the next entry share it. */
  snapshot(channel: string, onlyCameras: ReadonlySet<string> | undefined): Snapshot {
    const { head } = this.#journal;
    const key = `${channel} ${onlyCameras === undefined ? "" : [...onlyCameras].sort().join(" ")}`;
    const kept = this.#snapshots.get(key);
    const entries =
      kept?.head === head
        ? kept.entries
        : [...this.#journal.snapshot(channel), ...this.#latest(channel)]
            .filter((entry) => shows(channel, onlyCameras, entry))
            .sort((one, other) => one.position - other.position);
    this.#snapshots.delete(key);
    this.#snapshots.set(key, { head, entries });
    const [oldest] = this.#snapshots.keys();
    if (oldest !== undefined && this.#snapshots.size > MAX_CACHED_SNAPSHOTS) this.#snapshots.delete(oldest);
    return { entries, key: `snapshot ${head} ${key}` };
  }

  snapshotPage({ snapshot: { entries, key }, channel, next: first }: SnapshotRequest): Page {
    const pageKey = key === undefined ? undefined : `${key} ${first}`;
    const cached = pageKey === undefined ? undefined : this.#cached(pageKey);
    if (cached !== undefined) return cached;
    const label = [channel];
    const texts: string[] = [];
    let length = 0;
    for (let index = first; index < entries.length && texts.length < MAX_PAGE_EVENTS; index++) {
      const entry = entries[index];
      if (entry === undefined || (texts.length > 0 && length + entry.body.length > MAX_PAGE_BYTES)) break;
      texts.push(eventText(entry.body, entry.position, label, true));
      length += entry.body.length;
    }
    return this.#keep(pageKey, { ...framesOf(texts), next: first + texts.length, lost: [] });
  }

  clear(): void {
    this.#cache.clear();
    this.#cachedBytes = 0;
    this.#snapshots.clear();
  }

  /** The entries of one page, from memory. `isFull`: the page ends before `until`. */
  #recent({ channels, after, until }: EntriesRequest): { entries: readonly Entry[]; isFull: boolean } {
    const entries: Entry[] = [];
    let length = 0;
    let isFull = false;
    this.#recentEntries.read(after, until, (entry) => {
      if (!entry.channels.some((channel) => channels.has(channel))) return true;
      length += entry.body.length;
      isFull = entries.length === MAX_PAGE_EVENTS || (entries.length > 0 && length > MAX_PAGE_BYTES);
      if (!isFull) entries.push(entry);
      return !isFull;
    });
    return { entries, isFull };
  }

  #lost({ channels, begins, reportedGaps, after }: EntriesRequest): Lost[] {
    const lost: Lost[] = [];
    const { epoch } = this.#journal;
    for (const channel of channels) {
      const position = Math.max(after, begins.get(channel) ?? 0, reportedGaps.get(channel) ?? 0);
      const recovery = this.#journal.recovery(channel, { epoch, position });
      // A later gap in a damaged store is reported when the reader reaches that gap.
      const isAhead = !recovery.complete && recovery.reason === "damaged" && recovery.gap.after > position;
      if (recovery.complete || isAhead) continue;
      const { reason, gap, keptFrom } = recovery;
      lost.push({ channel, reason, gap, ...(keptFrom === undefined ? {} : { keptFrom }) });
    }
    return lost;
  }

  /** The states within reported gaps whose events were trimmed. They are sent in order of position, as snapshots. */
  #trimmedStates({ channels, reportedGaps, after }: EntriesRequest, entries: readonly Entry[], next: number) {
    const states = new Map<number, StateEntry>();
    for (const channel of channels) {
      const until = Math.min(next, reportedGaps.get(channel) ?? 0);
      if (until <= after) continue;
      for (const state of this.snapshot(channel, undefined).entries)
        if (state.position > after && state.position <= until) states.set(state.position, state);
    }
    for (const { position } of entries) states.delete(position);
    return [...states.values()].sort((one, other) => one.position - other.position);
  }

  #encode(
    entries: readonly Entry[],
    { label, coalesce }: EntriesRequest,
    trimmedStates: readonly StateEntry[] = [],
  ): Pick<Page, "frames" | "events"> {
    const replaced = coalesce ? this.#replaced(entries) : undefined;
    const texts: string[] = [];
    const states = trimmedStates.values();
    let state = states.next();
    const addStates = (before: number) => {
      for (; !state.done && state.value.position < before; state = states.next()) {
        const channels = label(state.value);
        if (channels !== undefined) texts.push(eventText(state.value.body, state.value.position, channels, true));
      }
    };
    for (const entry of entries) {
      addStates(entry.position);
      if (replaced?.has(entry.position)) continue;
      const channels = label(entry);
      if (channels !== undefined) texts.push(eventText(entry.body, entry.position, channels));
    }
    addStates(Number.POSITIVE_INFINITY);
    return framesOf(texts);
  }

  /** The positions of state that is set again later, on this page or after it. Clearing state replaces nothing. */
  #replaced(entries: readonly Entry[]): Set<number> {
    const replaced = new Set<number>();
    const setLater = new Set<string>();
    for (const { topic, position, state } of entries.toReversed()) {
      if (state === undefined) continue;
      if (setLater.has(topic) || (this.#journal.state(topic)?.position ?? 0) > position) replaced.add(position);
      if (state === "set") setLater.add(topic);
    }
    return replaced;
  }

  #cached(key: string): Page | undefined {
    const page = this.#cache.get(key);
    if (page === undefined) return undefined;
    this.#cache.delete(key);
    this.#cache.set(key, page);
    return page;
  }

  #keep(key: string | undefined, page: Page): Page {
    if (key === undefined) return page;
    this.#evict(key);
    this.#cache.set(key, page);
    this.#cachedBytes += page.frames?.length ?? 0;
    for (const [oldest] of this.#cache) {
      if (this.#cachedBytes <= MAX_CACHED_BYTES && this.#cache.size <= MAX_CACHED_PAGES) break;
      this.#evict(oldest);
    }
    return page;
  }

  #evict(key: string): void {
    this.#cachedBytes -= this.#cache.get(key)?.frames?.length ?? 0;
    this.#cache.delete(key);
  }
}

function framesOf(texts: readonly string[]): Pick<Page, "frames" | "events"> {
  return { frames: texts.length === 0 ? undefined : textFrames(texts), events: texts.length };
}
