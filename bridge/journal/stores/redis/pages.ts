import type { Logger } from "pino";
import type { Gap } from "../../../../contract/socket-messages.ts";
import type { Connection } from "../../../../platform/redis/connection.ts";
import { Page, type PageRequest } from "../../core/page.ts";
import type { PageStore } from "../../core/page-reader.ts";
import type { WholePage } from "../../core/whole-page.ts";
import type { ReplayPage } from "../../journal.ts";
import type { ChannelFloors } from "./channel-floors.ts";
import { type Chunk, entriesOf, readChunk } from "./chunk.ts";
import type { JournalKeys } from "./keys.ts";

/** Chunks per read. */
const CHUNKS_PER_READ = 16;

/** A chunk that the stream of a channel names. */
interface NamedChunk {
  last: number;
  /** The channel's newest position in the chunk. */
  newest: number;
}

/** A reply with fewer rows than requested is not taken for the end of a stream: only a reply without rows is. */
export class RedisPages implements PageStore {
  readonly #connection: Connection;
  readonly #keys: JournalKeys;
  readonly #channels: () => ChannelFloors;
  readonly #logger: Logger;
  /** The newest position that was reported as missing. */
  #missingUpTo = 0;

  constructor(connection: Connection, keys: JournalKeys, channels: () => ChannelFloors, logger: Logger) {
    this.#connection = connection;
    this.#keys = keys;
    this.#channels = channels;
    this.#logger = logger;
  }

  async readChannels(request: PageRequest): Promise<ReplayPage> {
    const channels = this.#channels();
    const before = request.logs.map(({ name, floor }) => ({ name, floor }));
    const page = await this.#read(request, channels);
    const names = before.map(({ name }) => name);
    await this.#refreshFloors(names, channels);
    // Retention may have removed some of these entries meanwhile. The gap then covers all entries below the floor.
    return before.some(({ name, floor }) => channels.floorOf(name) > floor) ? aboveFloors(page, names, channels) : page;
  }

  async readWhole(page: WholePage): Promise<number> {
    // Redis removes chunks from its log only by retention.
    const floor = Number.POSITIVE_INFINITY;
    for (let from = page.after; ; ) {
      const start = `(${from}-0`;
      const rows = await this.#connection.do((redis) =>
        redis.xrangeBuffer(this.#keys.log, start, "+", "COUNT", CHUNKS_PER_READ),
      );
      for (const [id, fields] of rows) {
        const chunk = readChunk(id, fields);
        for (const entry of entriesOf(chunk)) if (entry.position > page.after && !page.take(entry)) return floor;
        from = chunk.base + chunk.size;
      }
      if (rows.length === 0 || from >= page.until) return floor;
    }
  }

  /**
   * If a chunk is missing that a channel still keeps, the page ends before the chunk. A page that begins with missing
   * chunks reports them as a gap and continues after them.
   */
  async #read(request: PageRequest, channels: ChannelFloors): Promise<ReplayPage> {
    const page = new Page(request);
    let readTo = request.after;
    let gap: Gap | undefined;
    const finish = (end?: number): ReplayPage => {
      if (gap === undefined) return page.finish(end);
      this.#reportMissing(gap);
      return { ...page.finish(end), gap };
    };
    for (let after = request.after; ; ) {
      const from = after;
      const found = await Promise.all(request.logs.map(({ name }) => this.#chunksOf(name, from, request)));
      after = Math.min(...found.map((one) => one.readTo));
      const reached = after;
      const lasts = [...new Set(found.flatMap(({ chunks }) => chunks.map(({ last }) => last)))];
      const wanted = lasts.filter((last) => last <= reached).sort((a, b) => a - b);
      for (let at = 0; at < wanted.length; at += CHUNKS_PER_READ) {
        const some = wanted.slice(at, at + CHUNKS_PER_READ);
        const chunks = await this.#chunks(some);
        for (const last of some) {
          const chunk = chunks.get(last);
          if (chunk === undefined) {
            if (!(await this.#isLost(last, found, request, channels))) continue;
            if (readTo > request.after) return finish(readTo);
            gap = { after: request.after, before: last + 1 };
            continue;
          }
          for (const entry of entriesOf(chunk)) if (!page.takeIfRequested(entry)) return finish();
          readTo = last;
        }
      }
      if (after === Number.POSITIVE_INFINITY) return finish();
    }
  }

  /**
   * Finds chunks of the channel to fill a page. `readTo` is the position up to which the channel was read (Infinity: to
   * its end).
   */
  async #chunksOf(name: string, after: number, { until, maxEvents }: PageRequest) {
    const size = Math.min(maxEvents + 1, 128);
    const rows = await this.#connection.do((redis) =>
      redis.xrange(this.#keys.channel(name), `(${after}-0`, "+", "COUNT", size),
    );
    const chunks: NamedChunk[] = [];
    let events = 0;
    for (const [id, [, distances = ""]] of rows) {
      const last = Number.parseInt(id, 10);
      chunks.push({ last, newest: last - distances.charCodeAt(distances.length - 1) });
      if (last >= until) return { name, chunks, readTo: Number.POSITIVE_INFINITY };
      events += distances.length;
      // The cursor may be within the first chunk, so its first entries may not belong to the page.
      if (events > maxEvents) break;
    }
    return { name, chunks, readTo: chunks.at(-1)?.last ?? Number.POSITIVE_INFINITY };
  }

  /** Reads the chunks that the log still has. */
  async #chunks(lasts: readonly number[]): Promise<Map<number, Chunk>> {
    const rows = await this.#connection.do((redis) =>
      Promise.all(lasts.map((last) => redis.xrangeBuffer(this.#keys.log, `${last}-0`, `${last}-0`))),
    );
    const chunks = rows.flat().map(([id, fields]) => readChunk(id, fields));
    return new Map(chunks.map((chunk) => [chunk.base + chunk.size, chunk]));
  }

  /** Whether the log has lost a chunk with entries of the page. Otherwise, retention removed the chunk meanwhile. */
  async #isLost(
    last: number,
    found: readonly { name: string; chunks: readonly NamedChunk[] }[],
    { after }: PageRequest,
    channels: ChannelFloors,
  ): Promise<boolean> {
    const holders = found.flatMap(({ name, chunks }) => {
      const newest = chunks.find((chunk) => chunk.last === last)?.newest ?? 0;
      return newest > after ? [{ name, newest }] : [];
    });
    await this.#refreshFloors(
      holders.map(({ name }) => name),
      channels,
    );
    return holders.some(({ name, newest }) => newest > channels.floorOf(name));
  }

  #reportMissing({ after, before }: Gap): void {
    if (before - 1 <= this.#missingUpTo) return;
    this.#missingUpTo = before - 1;
    this.#logger.error(
      { after, before },
      "journal in redis is damaged: events are missing, the gap is reported to readers",
    );
  }

  /** Loads the current floors: they show which entries retention removed while the page was read. */
  async #refreshFloors(names: readonly string[], channels: ChannelFloors): Promise<void> {
    if (names.length === 0) return;
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

function aboveFloors(page: ReplayPage, names: readonly string[], channels: ChannelFloors): ReplayPage {
  const entries = page.entries.filter((entry) =>
    names.some((name) => entry.channels.includes(name) && entry.position > channels.floorOf(name)),
  );
  return { ...page, entries };
}
