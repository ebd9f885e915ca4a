import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import { type Channel, ChannelTable, NO_CHANNEL } from "../../core/channels.ts";
import type { KnownGaps } from "../../core/known-gaps.ts";
import { countBits } from "./bit-mask.ts";
import type { Span } from "./chunk.ts";
import { channelOfSpanKey, floorKey, META_KEY, rowsOf, spanKey, spansEnd } from "./keys.ts";

export interface ChannelLog extends Channel {
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
  /** As in the table of channels. */
  forgottenFloor: number;
}

/** The channels, with the counts that retention and readers need. */
export class ChannelLogs extends ChannelTable<ChannelLog> {
  epoch: string;

  constructor({ epoch, forgottenFloor }: MetaRow, maxChannels: number, knownGaps?: KnownGaps) {
    super({ forgottenFloor, maxChannels, knownGaps });
    this.epoch = epoch;
  }

  putMeta(set: WriteSet): void {
    const { epoch, forgottenFloor } = this;
    const meta: MetaRow = { epoch, forgottenFloor };
    set.put(META_KEY, JSON.stringify(meta));
  }

  of(name: string): ChannelLog {
    const known = this.channels.get(name);
    if (known !== undefined) return known;
    const floor = this.floorOf(name);
    const counts = { total: 0, dropped: 0, writing: 0 };
    const log: ChannelLog = { name, floor, ...counts, oldestAt: undefined, mask: 0, keptFrom: undefined };
    this.channels.set(name, log);
    return log;
  }

  /** Counts the entries of a span that has become durable. */
  committed(span: Span): void {
    const [acceptedAt, , , names, masks] = span;
    for (let index = 0; index < names.length; index++) {
      const log = this.channels.get(names[index] ?? NO_CHANNEL);
      if (log === undefined) continue;
      log.total += countBits(masks[index] ?? 0);
      log.oldestAt ??= acceptedAt;
    }
  }

  /** Resets the counts after a failed write. */
  rolledBack(): void {
    for (const log of this.channels.values()) {
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
    if (this.channels.size * 2 <= this.maxChannels) return;
    let { forgottenFloor } = this;
    for (const log of this.channels.values()) {
      if (log.writing > log.dropped || log.mask !== 0) continue;
      this.channels.delete(log.name);
      set.del(floorKey(log.name));
      forgottenFloor = Math.max(forgottenFloor, log.floor);
    }
    if (forgottenFloor === this.forgottenFloor) return;
    this.forgottenFloor = forgottenFloor;
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
