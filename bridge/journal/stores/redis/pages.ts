import type { JournalPage, ReadRequest, ReplayPage, ReplayRequest } from "../../journal.ts";
import { Page, type PageRequest, pageRequestOf, RecentPages, withTrimmedGap } from "../page.ts";
import { recentJournalPage, WholePage } from "../whole-page.ts";
import type { Channels } from "./channels.ts";
import { type Chunk, entriesOf, readChunk } from "./chunk.ts";
import type { Connection } from "./connection.ts";
import type { JournalView } from "./journal-view.ts";
import type { JournalKeys } from "./keys.ts";

/** Chunks per read. */
const CHUNKS_PER_READ = 16;

/** Reads pages of channels: the newest entries from memory, older ones from Redis. */
export class PageReader {
  readonly #connection: Connection;
  readonly #keys: JournalKeys;
  readonly #recentPages = new RecentPages();

  constructor(connection: Connection, keys: JournalKeys) {
    this.#connection = connection;
    this.#keys = keys;
  }

  async replay(request: ReplayRequest, view: JournalView): Promise<ReplayPage> {
    const { channels, recentEntries, head } = view;
    const names = request.channels.filter((name) => channels.has(name));
    const logs = names.map((name) => ({ name, floor: channels.floorOf(name) }));
    const wanted = pageRequestOf(request, logs, head);
    let page: ReplayPage = { entries: [], next: Math.max(request.after, wanted.until), done: true };
    if (wanted.after < wanted.until) {
      const recent = await this.#recentPages.read(recentEntries, wanted);
      page = recent ?? (await this.#read(wanted));
      if (recent === undefined) {
        await this.#refreshFloors(names, view);
        // Retention may have removed some of these entries meanwhile. The gap then covers all entries below the floor.
        if (logs.some(({ name, floor }) => channels.floorOf(name) > floor)) page = aboveFloors(page, names, channels);
      }
    }
    return withTrimmedGap(page, request, (name) => channels.floorOf(name));
  }

  async read(request: ReadRequest, view: JournalView): Promise<JournalPage> {
    const page = new WholePage(request, view.head);
    if (view.recentEntries.reaches(request.after)) return recentJournalPage(view.recentEntries, page);
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
      const found = await Promise.all(request.logs.map(({ name }) => this.#chunksOf(name, from, request)));
      after = Math.min(...found.map(({ readTo }) => readTo));
      const reached = after;
      const lasts = [...new Set(found.flatMap((one) => one.lasts))].filter((last) => last <= reached);
      lasts.sort((a, b) => a - b);
      for (let at = 0; at < lasts.length; at += CHUNKS_PER_READ) {
        for (const chunk of await this.#chunks(lasts.slice(at, at + CHUNKS_PER_READ)))
          for (const entry of entriesOf(chunk)) if (!page.takeIfRequested(entry)) return page.finish();
      }
      if (after === Number.POSITIVE_INFINITY) return page.finish();
    }
  }

  /** Finds chunks to fill a page: their last positions, and how far the channel was read (Infinity: to its end). */
  async #chunksOf(name: string, after: number, { until, maxEvents }: PageRequest) {
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
      // The cursor may be within the first chunk, so its first entries may not belong to the page.
      if (events > maxEvents) break;
    }
    const readAll = rows.length < size && lasts.length === rows.length;
    return { lasts, readTo: readAll ? Number.POSITIVE_INFINITY : (lasts.at(-1) ?? Number.POSITIVE_INFINITY) };
  }

  /** Reads chunks, except those that were deleted meanwhile. */
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
      // A removed channel has no floor of its own.
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
