import { type Database, WriteSet } from "../../../../platform/level/write-set.ts";
import { bitLength, countBits, lowBits, lowestSetBits } from "./bit-mask.ts";
import type { ChannelLog, ChannelLogs } from "./channel-logs.ts";
import { idKeysOfChunk, NO_CHANNEL, type Span } from "./chunk.ts";
import { chunkKey, HEAD_KEY, positionOfKey, spanKey, spansEnd } from "./keys.ts";

/** Spans looked at in one step: well under a millisecond of the event loop. */
const SPANS_PER_STEP = 128;
/** Rows removed in one write. */
const ROWS_PER_WRITE = 512;

export interface RetentionOptions {
  /** The most entries a channel keeps; Infinity for no limit. */
  retentionEvents: number;
  /** The oldest an entry of a channel may be, hours; Infinity for no limit. */
  retentionHours: number;
  /** The time, milliseconds since 1970. */
  now: () => number;
}

/** What retention needs of the journal around it. */
export interface TrimmedStore {
  db(): Database;
  /** The newest position that readers have been given. */
  head(): number;
  /** True when no further work should be begun. */
  isClosing(): boolean;
  /** Writes the removals of some steps; resolves when they are durable. */
  write(set: WriteSet): Promise<void>;
}

/**
 * Drops from each channel what is too many or too old. A channel's floor moves first, in memory: from then on nobody
 * reads below it. The rows follow, in one write with the floor. A chunk goes when the last of its channels dropped the
 * last of its entries; each span is looked at once, so the work is proportional to what was appended.
 */
export class Retention {
  readonly #channels: ChannelLogs;
  readonly #options: RetentionOptions;

  constructor(channels: ChannelLogs, options: RetentionOptions) {
    this.#channels = channels;
    this.#options = options;
  }

  /** @returns how many entries went: those that all their channels have dropped */
  async trim(store: TrimmedStore): Promise<number> {
    const cutoff = this.#options.now() - this.#options.retentionHours * 3_600_000;
    let gone = 0;
    let set = new WriteSet();
    for (const log of this.#channels.all()) {
      for (let more = this.#hasExcess(log, cutoff); more && !store.isClosing(); ) {
        const step = await this.#step(store, log, cutoff, set);
        gone += step.gone;
        more = step.more;
        if (set.size >= ROWS_PER_WRITE) {
          await this.#write(store, set);
          set = new WriteSet();
        }
      }
    }
    this.#channels.forgetEmpty(set);
    if (set.size > 0) await this.#write(store, set);
    return gone;
  }

  #write(store: TrimmedStore, set: WriteSet): Promise<void> {
    // With the newest entries gone, their rows cannot tell any more where positions go on.
    set.put(HEAD_KEY, String(store.head()));
    return store.write(set);
  }

  #hasExcess(log: ChannelLog, cutoff: number): boolean {
    const { retentionEvents } = this.#options;
    return log.total - log.dropped > retentionEvents || (log.oldestAt !== undefined && log.oldestAt < cutoff);
  }

  /** Looks at the oldest spans of a channel; `more` when all of them were dropped. */
  async #step(
    store: TrimmedStore,
    log: ChannelLog,
    cutoff: number,
    set: WriteSet,
  ): Promise<{ gone: number; more: boolean }> {
    const range = { gte: spanKey(log.name, log.floor + 1), lt: spansEnd(log.name), highWaterMarkBytes: 256 * 1024 };
    const iterator = store.db().iterator(range);
    const rows = await iterator.nextv(SPANS_PER_STEP).finally(() => iterator.close());
    const chunksWithIds: number[] = [];
    const droppedBefore = log.dropped;
    let gone = 0;
    let more = rows.length > 0;
    for (const [key, value] of rows) {
      const last = positionOfKey(key);
      // Written, but not yet given to anybody: it is not counted either.
      if (last > store.head()) {
        more = false;
        break;
      }
      const span: Span = JSON.parse(value);
      const first = last - span[2] + 1;
      const index = span[3].indexOf(log.name);
      const own = span[4][index] ?? 0;
      const kept = own & ~lowBits(log.floor - first + 1);
      const excess = log.total - log.dropped - this.#options.retentionEvents;
      const drop = span[0] < cutoff ? kept : lowestSetBits(kept, excess);
      const heldByOthers = this.#heldByOthers(log, first, span);
      gone += countBits(drop & ~heldByOthers);
      if (drop !== 0) {
        log.floor = first + bitLength(drop) - 1;
        // Counted anew, so that entries which a damaged store has lost below the floor are among them.
        log.dropped = (span[5][index] ?? 0) + countBits(own & lowBits(log.floor - first + 1));
      }
      if (drop !== kept) {
        log.oldestAt = span[0];
        more = false;
        break;
      }
      set.del(key);
      if (heldByOthers === 0) {
        set.del(chunkKey(last));
        if (span[1] === 1) chunksWithIds.push(last);
      }
    }
    if (log.dropped === log.total) log.oldestAt = undefined;
    if (log.dropped !== droppedBefore) this.#channels.putFloor(log, set);
    await forgetIds(store.db(), chunksWithIds, set);
    return { gone, more };
  }

  /** The entries of a chunk that channels other than this one still keep. */
  #heldByOthers(log: ChannelLog, first: number, span: Span): number {
    const [, , , names, bits] = span;
    let held = 0;
    for (let index = 0; index < names.length; index++) {
      const other = this.#channels.get(names[index] ?? NO_CHANNEL);
      if (other === undefined || other === log) continue;
      held |= (bits[index] ?? 0) & ~lowBits(other.floor - first + 1);
    }
    return held;
  }
}

async function forgetIds(db: Database, lasts: readonly number[], set: WriteSet): Promise<void> {
  if (lasts.length === 0) return;
  for (const [index, chunk] of (await db.getMany(lasts.map(chunkKey))).entries()) {
    if (chunk !== undefined) for (const key of idKeysOfChunk(lasts[index] ?? 0, chunk)) set.del(key);
  }
}
