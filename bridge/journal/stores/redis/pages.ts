import type { Entry, JournalPage, ReadRequest, ReplayPage, ReplayRequest } from "../../journal.ts";
import { recentJournalPage, WholePage } from "../../whole-page.ts";
import type { Channels } from "./channels.ts";
import { type Chunk, entriesOf, readChunk } from "./chunk.ts";
import type { Connection } from "./connection.ts";
import type { JournalView } from "./journal-view.ts";
import type { JournalKeys } from "./keys.ts";

const DEFAULT_PAGE_EVENTS = 100;
const DEFAULT_PAGE_BYTES = 256 * 1024;
/** Entries served from memory per turn of the event loop, so that reading page after page yields now and then. */
const SERVED_PER_TURN = 2_000;
/** Chunks per read. */
const CHUNKS_PER_READ = 16;

/** A request for a page, with defaults and limits applied. */
interface PageRequest {
  /** The requested channels that exist, each with its floor. */
  floors: ReadonlyMap<string, number>;
  after: number;
  until: number;
  maxEvents: number;
  maxBytes: number;
}

/** Collects the entries of a page. */
class Page {
  readonly #request: PageRequest;
  readonly #entries: Entry[] = [];
  #chars = 0;
  #isFull = false;

  constructor(request: PageRequest) {
    this.#request = request;
  }

  /** Adds an entry if it belongs to the page. @returns false when the page ends before the entry */
  readonly take = (entry: Entry): boolean => {
    const { floors, after, until, maxEvents, maxBytes } = this.#request;
    const { position } = entry;
    if (position > until) return false;
    if (position <= after || !entry.channels.some((name) => position > (floors.get(name) ?? Number.POSITIVE_INFINITY)))
      return true;
    const chars = this.#chars + entry.body.length;
    this.#isFull = this.#entries.length >= maxEvents || (chars > maxBytes && this.#entries.length > 0);
    if (this.#isFull) return false;
    this.#chars = chars;
    this.#entries.push(entry);
    return true;
  };

  /** Returns the page, once all entries up to its end were added. */
  finish(): ReplayPage {
    const { until, after } = this.#request;
    const next = this.#isFull ? (this.#entries.at(-1)?.position ?? after) : until;
    return { entries: this.#entries, next, done: next === until };
  }
}

/** Reads pages of channels: the newest entries from memory, older ones from Redis. */
export class PageReader {
  readonly #connection: Connection;
  readonly #keys: JournalKeys;
  #servedThisTurn = 0;

  constructor(connection: Connection, keys: JournalKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  /** @throws {StoreUnavailableError} Redis cannot be read */
  async replay(request: ReplayRequest, view: JournalView): Promise<ReplayPage> {
    const { after } = request;
    const { channels, recentEntries, head } = view;
    const until = Math.min(request.until ?? head, head);
    const names = request.channels.filter((name) => channels.has(name));
    const floors = new Map(names.map((name) => [name, channels.floorOf(name)]));
    // The channels have no entries below the lowest of their floors.
    const from = Math.max(after, Math.min(...floors.values()));
    const wanted: PageRequest = {
      floors,
      after: from,
      until,
      maxEvents: Math.max(1, request.maxEvents ?? DEFAULT_PAGE_EVENTS),
      maxBytes: request.maxBytes ?? DEFAULT_PAGE_BYTES,
    };
    let page: ReplayPage = { entries: [], next: Math.max(after, until), done: true };
    if (from < until) {
      if (this.#servedThisTurn >= SERVED_PER_TURN) {
        await new Promise((resolve) => setImmediate(resolve));
        this.#servedThisTurn = 0;
      }
      if (recentEntries.reaches(from)) {
        const found = new Page(wanted);
        recentEntries.read(from, until, found.take);
        page = found.finish();
        this.#servedThisTurn += page.entries.length + 1;
      } else {
        page = await this.#read(wanted);
        await this.#refreshFloors(names, view);
        // Retention may have removed some of these entries meanwhile. The gap then covers all entries below the floor.
        if (names.some((name) => channels.floorOf(name) > (floors.get(name) ?? 0)))
          page = aboveFloors(page, names, channels);
      }
    }
    // The gap is determined after reading, because retention may remove entries meanwhile.
    let floor = 0;
    for (const name of request.channels) floor = Math.max(floor, channels.floorOf(name));
    return floor > after ? { ...page, gap: { after, before: floor + 1 } } : page;
  }

  /** Reads a page of all channels. @throws {StoreUnavailableError} Redis cannot be read */
  async read({ after, maxEvents, maxBytes }: ReadRequest, view: JournalView): Promise<JournalPage> {
    const page = new WholePage({
      after,
      until: view.head,
      maxEvents: Math.max(1, maxEvents ?? DEFAULT_PAGE_EVENTS),
      maxBytes: maxBytes ?? DEFAULT_PAGE_BYTES,
    });
    if (view.recentEntries.reaches(after)) return recentJournalPage(view.recentEntries, page);
    await this.#readWhole(page);
    // Redis removes chunks from its log only by retention.
    return page.finish(() => Number.POSITIVE_INFINITY);
  }

  async #readWhole(page: WholePage): Promise<void> {
    for (let from = page.after; ; ) {
      const start = `(${from}-0`;
      const rows = await this.#connection.do((redis) =>
        redis.xrangeBuffer(this.#keys.log, start, "+", "COUNT", CHUNKS_PER_READ),
      );
      for (const [id, fields] of rows) {
        const chunk = readChunk(id, fields);
        for (const entry of entriesOf(chunk)) if (entry.position > page.after && !page.take(entry)) return;
        from = chunk.base + chunk.size;
      }
      if (rows.length < CHUNKS_PER_READ) return;
    }
  }

  async #read(request: PageRequest): Promise<ReplayPage> {
    const page = new Page(request);
    for (let after = request.after; ; ) {
      const from = after;
      const found = await Promise.all([...request.floors].map(([name]) => this.#chunksOf(name, from, request)));
      after = Math.min(...found.map(({ readTo }) => readTo));
      const reached = after;
      const lasts = [...new Set(found.flatMap((one) => one.lasts))].filter((last) => last <= reached);
      lasts.sort((a, b) => a - b);
      for (let at = 0; at < lasts.length; at += CHUNKS_PER_READ) {
        for (const chunk of await this.#chunks(lasts.slice(at, at + CHUNKS_PER_READ)))
          for (const entry of entriesOf(chunk)) if (!page.take(entry)) return page.finish();
      }
      if (after === Number.POSITIVE_INFINITY) return page.finish();
    }
  }

  /**
   * Finds the next chunks of a channel, enough to fill a page.
   * @returns the last positions of the chunks, and how far the channel was read: Infinity when it has no more chunks
   */
  async #chunksOf(
    name: string,
    after: number,
    { until, maxEvents }: PageRequest,
  ): Promise<{ lasts: number[]; readTo: number }> {
    const size = Math.min(maxEvents + 1, 128);
    const rows = await this.#connection.do((redis) =>
      redis.xrange(this.#keys.channel(name), `(${after}-0`, "+", "COUNT", size),
    );
    const lasts: number[] = [];
    let events = 0;
    for (const [id, [, distances]] of rows) {
      const last = Number.parseInt(id, 10);
      lasts.push(last);
      if (last >= until) return { lasts, readTo: Number.POSITIVE_INFINITY };
      events += distances?.length ?? 0;
      // One entry more than the page holds: part of the first chunk may be below the cursor.
      if (events > maxEvents) break;
    }
    const readAll = rows.length < size && lasts.length === rows.length;
    return { lasts, readTo: readAll ? Number.POSITIVE_INFINITY : (lasts.at(-1) ?? Number.POSITIVE_INFINITY) };
  }

  /** Reads chunks. Chunks that were deleted meanwhile are left out. */
  async #chunks(lasts: readonly number[]): Promise<Chunk[]> {
    const rows = await this.#connection.do((redis) =>
      Promise.all(lasts.map((last) => redis.xrangeBuffer(this.#keys.log, `${last}-0`, `${last}-0`))),
    );
    return rows.flat().map(([id, fields]) => readChunk(id, fields));
  }

  /** Loads the current floors: they show which entries retention removed while the page was read. */
  async #refreshFloors(names: readonly string[], { channels }: JournalView): Promise<void> {
    const { meta, floors, kept } = this.#keys;
    const [forgotten, floorsNow, keptNow] = await this.#connection.do((redis) =>
      Promise.all([redis.hget(meta, "forgotten"), redis.hmget(floors, ...names), redis.hmget(kept, ...names)]),
    );
    for (const [index, name] of names.entries()) {
      // A channel that was removed has no floor of its own any more.
      const isRemoved = (keptNow[index] ?? null) === null;
      channels.raise(name, Number((isRemoved ? forgotten : floorsNow[index]) ?? 0));
    }
  }
}

function aboveFloors(page: ReplayPage, names: readonly string[], channels: Channels): ReplayPage {
  const entries = page.entries.filter((entry) =>
    names.some((name) => entry.channels.includes(name) && entry.position > channels.floorOf(name)),
  );
  return { ...page, entries };
}
