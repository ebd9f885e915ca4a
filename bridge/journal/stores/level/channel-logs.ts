import type { Since } from "../../../../contract/socket-messages.ts";
import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { Recovery } from "../../journal.ts";
import { assertCanAddChannel, NO_CHANNEL, recoveryOf } from "../channels.ts";
import { countBits } from "./bit-mask.ts";
import type { Span } from "./chunk.ts";
import { channelOfSpanKey, floorKey, META_KEY, rowsOf, spanKey, spansEnd } from "./keys.ts";

export interface ChannelLog {
  readonly name: string;
  /** The highest position that retention removed from the channel. */
  floor: number;
  /** The number of entries that were ever appended to the channel. */
  total: number;
  /** The number of entries that retention removed. */
  dropped: number;
  /** `total`, including the current write. */
  writing: number;
  /** When the oldest kept entry was accepted, milliseconds since 1970; undefined when the channel keeps no entry. */
  oldestAt: number | undefined;
  /** The mask of the channel's entries in the unfinished chunk. */
  mask: number;
  /** The last position of the oldest chunk that retention kept for a reader. */
  keptFrom: number | undefined;
}

type FloorRow = [floor: number, dropped: number];

export interface MetaRow {
  epoch: string;
  /** The highest floor of the channels that were removed from the table because they kept no entries. */
  forgottenFloor: number;
}

/** The channels of the journal in memory: the counts and positions that recovery and retention need. */
export class ChannelLogs {
  readonly #logs = new Map<string, ChannelLog>();
  readonly #maxChannels: number;
  #meta: MetaRow;

  constructor(meta: MetaRow, maxChannels: number) {
    this.#meta = meta;
    this.#maxChannels = maxChannels;
  }

  get epoch(): string {
    return this.#meta.epoch;
  }

  setEpoch(epoch: string): void {
    this.#meta = { ...this.#meta, epoch };
  }

  putMeta(set: WriteSet): void {
    set.put(META_KEY, JSON.stringify(this.#meta));
  }

  get(name: string): ChannelLog | undefined {
    return this.#logs.get(name);
  }

  names(): Iterable<string> {
    return this.#logs.keys();
  }

  get free(): number {
    return Math.max(0, this.#maxChannels - this.#logs.size);
  }

  all(): IterableIterator<ChannelLog> {
    return this.#logs.values();
  }

  /** @throws as {@link assertCanAddChannel} */
  check(name: string): void {
    if (!this.#logs.has(name)) assertCanAddChannel(name, this.#logs.size, this.#maxChannels);
  }

  of(name: string): ChannelLog {
    const known = this.#logs.get(name);
    if (known !== undefined) return known;
    // A removed channel of this name may have had entries up to this position.
    const floor = this.#meta.forgottenFloor;
    const counts = { total: 0, dropped: 0, writing: 0 };
    const log: ChannelLog = { name, floor, ...counts, oldestAt: undefined, mask: 0, keptFrom: undefined };
    this.#logs.set(name, log);
    return log;
  }

  floorOf(name: string): number {
    return this.#logs.get(name)?.floor ?? this.#meta.forgottenFloor;
  }

  /** The highest position that retention removed from any channel. */
  highestFloor(): number {
    let highest = this.#meta.forgottenFloor;
    for (const { floor } of this.#logs.values()) highest = Math.max(highest, floor);
    return highest;
  }

  recovery(channel: string, since: Since, head: number): Recovery {
    return recoveryOf(this.floorOf(channel), since, { epoch: this.epoch, head });
  }

  /** Counts the entries of a span that has become durable. */
  committed(span: Span): void {
    const [acceptedAt, , , names, masks] = span;
    for (let index = 0; index < names.length; index++) {
      const log = this.#logs.get(names[index] ?? NO_CHANNEL);
      if (log === undefined) continue;
      log.total += countBits(masks[index] ?? 0);
      log.oldestAt ??= acceptedAt;
    }
  }

  /** Resets the counts after a failed write. */
  rolledBack(): void {
    for (const log of this.#logs.values()) {
      log.writing = log.total;
      log.mask = 0;
    }
  }

  putFloor(log: ChannelLog, set: WriteSet): void {
    const row: FloorRow = [log.floor, log.dropped];
    set.put(floorKey(log.name), JSON.stringify(row));
  }

  /** Removes channels that keep no entries from the table, once the table is more than half full. */
  forgetEmpty(set: WriteSet): void {
    if (this.#logs.size * 2 <= this.#maxChannels) return;
    let forgottenFloor = this.#meta.forgottenFloor;
    for (const log of this.#logs.values()) {
      if (log.writing > log.dropped || log.mask !== 0) continue;
      this.#logs.delete(log.name);
      set.del(floorKey(log.name));
      forgottenFloor = Math.max(forgottenFloor, log.floor);
    }
    if (forgottenFloor === this.#meta.forgottenFloor) return;
    this.#meta = { ...this.#meta, forgottenFloor };
    this.putMeta(set);
  }

  /** Reads only two spans of each channel, however many entries it has. */
  async load(db: Database): Promise<void> {
    for await (const [key, value] of db.iterator(rowsOf("f"))) {
      const [floor, dropped]: FloorRow = JSON.parse(value);
      Object.assign(this.of(key.slice(1)), { floor, dropped, total: dropped, writing: dropped });
    }
    const rows = db.iterator(rowsOf("i"));
    try {
      let row = await rows.next();
      while (row !== undefined) {
        const name = channelOfSpanKey(row[0]);
        await this.#loadSpans(db, name);
        rows.seek(spansEnd(name));
        row = await rows.next();
      }
    } finally {
      await rows.close();
    }
  }

  async #loadSpans(db: Database, name: string): Promise<void> {
    const log = this.of(name);
    const kept = { gte: spanKey(name, log.floor + 1), lt: spansEnd(name), limit: 1 };
    const [oldest] = await db.iterator(kept).all();
    const [newest] = await db.iterator({ ...kept, reverse: true }).all();
    if (oldest === undefined || newest === undefined) return;
    const newestSpan: Span = JSON.parse(newest[1]);
    const oldestSpan: Span = JSON.parse(oldest[1]);
    const [, , , names, masks, before] = newestSpan;
    const index = names.indexOf(name);
    log.oldestAt = oldestSpan[0];
    log.total = (before[index] ?? 0) + countBits(masks[index] ?? 0);
    log.writing = log.total;
  }
}
