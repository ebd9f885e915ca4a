import type { Gap, UnrecoverableReason } from "../../contract/socket-messages.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";
import { shows } from "./channel-filter.ts";
import { eventText, type Label, textFrames } from "./frames.ts";
import type { RecentEntries } from "./recent-entries.ts";

export const MAX_PAGE_EVENTS = 100;
export const MAX_PAGE_BYTES = 262_144;
/** What is kept of pages that others may ask for next: a thousand clients that come back at once read the same. */
const MAX_CACHED_BYTES = 4 * 1_048_576;
const MAX_CACHED_PAGES = 512;
const MAX_CACHED_SNAPSHOTS = 64;

export interface PageRequest {
  channels: ReadonlySet<string>;
  /** Where each channel begins, when that is above `after`. */
  begins: ReadonlyMap<string, number>;
  /** Up to where the reader of a channel was told that events are missing. */
  told: ReadonlyMap<string, number>;
  after: number;
  until: number;
  /** Undefined for an entry that this reader is not to get. */
  label: (entry: StateEntry) => Label | undefined;
  /** Leave out state that a later entry replaces. */
  coalesce: boolean;
  /** The same for requests with the same answer; undefined for one that nobody else makes. */
  key: string | undefined;
}

export interface Page {
  frames: Buffer | undefined;
  events: number;
  /** Where the next page begins. */
  next: number;
  /** Channels of which the journal no longer has everything that this page should hold. */
  lost: readonly Lost[];
}

export interface Lost {
  channel: string;
  reason: UnrecoverableReason;
  gap: Gap;
  /** As of `Recovery`. */
  keptFrom?: number;
}

/** A channel's state as of one moment, in order of position. */
export interface Snapshot {
  entries: readonly StateEntry[];
  key: string | undefined;
}

/** The journal in pages of frames, ready to be written. A page that several ask for is read and encoded once. */
export class PageCache {
  readonly #journal: Journal;
  readonly #tail: RecentEntries;
  /** Oldest use first. */
  readonly #cache = new Map<string, Page>();
  #cachedBytes = 0;
  readonly #snapshots = new Map<string, { edge: number; entries: readonly StateEntry[] }>();

  constructor(journal: Journal, recentEntries: RecentEntries) {
    this.#journal = journal;
    this.#tail = recentEntries;
  }

  /** The page, if it is to be had without reading the disk. */
  atHand(request: PageRequest): Page | undefined {
    const { key, channels, after, until } = request;
    const cached = key === undefined ? undefined : this.#cached(key);
    if (cached !== undefined) return cached;
    const stretch = this.#tail.read(channels, after, until, MAX_PAGE_EVENTS, MAX_PAGE_BYTES);
    if (stretch === undefined) return undefined;
    return this.#keep(key, { ...this.#encode(stretch.entries, request), next: stretch.next, lost: [] });
  }

  async read(request: PageRequest): Promise<Page> {
    const { key, channels, after, until } = request;
    const { epoch } = this.#journal;
    const { entries, next } = await this.#journal.replay({
      channels: [...channels],
      after,
      until,
      maxEvents: MAX_PAGE_EVENTS,
      maxBytes: MAX_PAGE_BYTES,
    });
    // Asked after reading: what was trimmed while the page was read must not go missing in silence.
    const lost = this.#lost(request);
    const states = this.#trimmedStates(request, entries, next);
    const page = { ...this.#encode(entries, request, states), next, lost };
    return lost.length === 0 && epoch === this.#journal.epoch ? this.#keep(key, page) : page;
  }

  /** The state of a channel as of now. Shared by all who subscribe before anything new happens. */
  snapshot(channel: string, onlyCameras: ReadonlySet<string> | undefined): Snapshot {
    const { edge } = this.#tail;
    const key = `${channel} ${onlyCameras === undefined ? "" : [...onlyCameras].sort().join(" ")}`;
    const kept = this.#snapshots.get(key);
    const entries =
      kept?.edge === edge
        ? kept.entries
        : this.#journal
            .snapshot(channel)
            .filter((entry) => shows(channel, onlyCameras, entry))
            .sort((one, other) => one.position - other.position);
    this.#snapshots.delete(key);
    this.#snapshots.set(key, { edge, entries });
    const [oldest] = this.#snapshots.keys();
    if (oldest !== undefined && this.#snapshots.size > MAX_CACHED_SNAPSHOTS) this.#snapshots.delete(oldest);
    return { entries, key: `snapshot ${edge} ${key}` };
  }

  /** A page of a snapshot, beginning with the entry of that index. `next` is the index of the page that follows. */
  snapshotPage({ entries, key }: Snapshot, channel: string, first: number): Page {
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

  /** Forgets what is kept for others. */
  clear(): void {
    this.#cache.clear();
    this.#cachedBytes = 0;
    this.#snapshots.clear();
  }

  #lost({ channels, begins, told, after }: PageRequest): Lost[] {
    const lost: Lost[] = [];
    const { epoch } = this.#journal;
    for (const channel of channels) {
      const position = Math.max(after, begins.get(channel) ?? 0, told.get(channel) ?? 0);
      const recovery = this.#journal.recovery(channel, { epoch, position });
      // A hole further on is told when its place is reached.
      const isAhead = !recovery.complete && recovery.reason === "damaged" && recovery.gap.after > position;
      if (recovery.complete || isAhead) continue;
      const { reason, gap, keptFrom } = recovery;
      lost.push({ channel, reason, gap, ...(keptFrom === undefined ? {} : { keptFrom }) });
    }
    return lost;
  }

  /**
   * State whose event was trimmed, within a gap that holds others' events: told in its place, as part of the state.
   * In order of position.
   */
  #trimmedStates({ channels, told, after }: PageRequest, entries: readonly Entry[], next: number): StateEntry[] {
    const states = new Map<number, StateEntry>();
    for (const channel of channels) {
      const until = Math.min(next, told.get(channel) ?? 0);
      if (until <= after) continue;
      for (const state of this.snapshot(channel, undefined).entries)
        if (state.position > after && state.position <= until) states.set(state.position, state);
    }
    for (const { position } of entries) states.delete(position);
    return [...states.values()].sort((one, other) => one.position - other.position);
  }

  #encode(
    entries: readonly Entry[],
    { label, coalesce }: PageRequest,
    trimmedStates: readonly StateEntry[] = [],
  ): Pick<Page, "frames" | "events"> {
    const replaced = coalesce ? this.#replaced(entries) : undefined;
    const texts: string[] = [];
    const states = trimmedStates.values();
    let state = states.next();
    const tellStates = (before: number) => {
      for (; !state.done && state.value.position < before; state = states.next()) {
        const channels = label(state.value);
        if (channels !== undefined) texts.push(eventText(state.value.body, state.value.position, channels, true));
      }
    };
    for (const entry of entries) {
      tellStates(entry.position);
      if (replaced?.has(entry.position)) continue;
      const channels = label(entry);
      if (channels !== undefined) texts.push(eventText(entry.body, entry.position, channels));
    }
    tellStates(Number.POSITIVE_INFINITY);
    return framesOf(texts);
  }

  /** The positions of state that is set again later, on this page or after it. A state that was cleared since is told. */
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
    this.#forget(key);
    this.#cache.set(key, page);
    this.#cachedBytes += page.frames?.length ?? 0;
    for (const [oldest] of this.#cache) {
      if (this.#cachedBytes <= MAX_CACHED_BYTES && this.#cache.size <= MAX_CACHED_PAGES) break;
      this.#forget(oldest);
    }
    return page;
  }

  #forget(key: string): void {
    this.#cachedBytes -= this.#cache.get(key)?.frames?.length ?? 0;
    this.#cache.delete(key);
  }
}

function framesOf(texts: readonly string[]): Pick<Page, "frames" | "events"> {
  return { frames: texts.length === 0 ? undefined : textFrames(texts), events: texts.length };
}
