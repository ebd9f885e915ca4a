import { type Database, WriteSet } from "../../../../platform/level/write-set.ts";
import { NO_CHANNEL } from "../../core/channels.ts";
import type { RetentionLimits } from "../../core/limits.ts";
import type { JournalReader } from "../../journal.ts";
import { bitLength, countBits, lowBits, lowestSetBits } from "./bit-mask.ts";
import type { ChannelLog, ChannelLogs } from "./channel-logs.ts";
import { idKeysOfChunk, type Span } from "./chunk.ts";
import { chunkKey, HEAD_KEY, positionOfKey, spanKey, spansEnd } from "./keys.ts";

/** Spans processed in one step: well under a millisecond of the event loop. */
const SPANS_PER_STEP = 128;
const ROWS_PER_WRITE = 512;

/** The parts of the journal that retention uses. */
interface TrimmedStore {
  db(): Database;
  /** The newest position that is visible to readers. */
  head(): number;
  readers: Iterable<JournalReader>;
  isClosing(): boolean;
  /** Resolves when the deletions are durable. */
  write(set: WriteSet): Promise<void>;
}

/**
 * Removes entries that exceed a channel's limits on count or age. First the channel's floor in memory rises, so that
 * readers read only above it. Then one write stores the floor and deletes the rows. A chunk is deleted when no channel
 * keeps any of its entries. Entries that a reader has not read yet stay, however old. Each span is processed once, so the total work is proportional to the number of appends.
 */
export class Retention {
  readonly #channels: ChannelLogs;
  readonly #options: RetentionLimits & { now: () => number };

  constructor(channels: ChannelLogs, options: RetentionLimits & { now: () => number }) {
    this.#channels = channels;
    this.#options = options;
  }

  /** @returns the number of removed entries, which no channel keeps now */
  async trim(store: TrimmedStore): Promise<number> {
    const cutoff = this.#options.now() - this.#options.retentionHours * 3_600_000;
    const unreadFrom = unreadFromOf(store.readers, store.head());
    let removed = 0;
    let set = new WriteSet();
    for (const log of this.#channels.all()) {
      const isKept = log.keptFrom !== undefined && log.keptFrom > unreadFrom;
      for (let more = !isKept && this.#hasExcess(log, cutoff); more && !store.isClosing(); ) {
        const step = await this.#step({ store, cutoff, unreadFrom }, log, set);
        removed += step.removed;
        more = step.more;
        if (set.size >= ROWS_PER_WRITE) {
          await this.#write(store, set);
          set = new WriteSet();
        }
      }
    }
    this.#channels.forgetEmpty(set);
    if (set.size > 0) await this.#write(store, set);
    return removed;
  }

  #write(store: TrimmedStore, set: WriteSet): Promise<void> {
    // Stores the newest position, because the row that has it may be deleted.
    set.put(HEAD_KEY, String(store.head()));
    return store.write(set);
  }

  #hasExcess(log: ChannelLog, cutoff: number): boolean {
    const { retentionEvents } = this.#options;
    return log.total - log.dropped > retentionEvents || (log.oldestAt !== undefined && log.oldestAt < cutoff);
  }

  /** Processes the oldest spans of a channel. @returns `more` is true when all these spans were removed */
  async #step(
    { store, cutoff, unreadFrom }: { store: TrimmedStore; cutoff: number; unreadFrom: number },
    log: ChannelLog,
    set: WriteSet,
  ): Promise<{ removed: number; more: boolean }> {
    const range = { gte: spanKey(log.name, log.floor + 1), lt: spansEnd(log.name), highWaterMarkBytes: 256 * 1024 };
    const iterator = store.db().iterator(range);
    const rows = await iterator.nextv(SPANS_PER_STEP).finally(() => iterator.close());
    const chunksWithIds: number[] = [];
    const droppedBefore = log.dropped;
    let removed = 0;
    let more = rows.length > 0;
    for (const [key, value] of rows) {
      const last = positionOfKey(key);
      // The entries of the span are written, but not visible and not counted yet.
      if (last > store.head()) {
        more = false;
        break;
      }
      const span: Span = JSON.parse(value);
      if (last > unreadFrom) {
        log.keptFrom = last;
        log.oldestAt = span[0];
        more = false;
        break;
      }
      const first = last - span[2] + 1;
      const index = span[3].indexOf(log.name);
      const own = span[4][index] ?? 0;
      const kept = own & ~lowBits(log.floor - first + 1);
      const excess = log.total - log.dropped - this.#options.retentionEvents;
      const drop = span[0] < cutoff ? kept : lowestSetBits(kept, excess);
      const heldByOthers = this.#heldByOthers(log, first, span);
      removed += countBits(drop & ~heldByOthers);
      if (drop !== 0) {
        log.floor = first + bitLength(drop) - 1;
        // This uses the span's number, because that also counts entries below the floor that a damaged store has lost.
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
    await deleteIds(store.db(), chunksWithIds, set);
    return { removed, more };
  }

  /** The mask of the chunk's entries that other channels keep. */
  #heldByOthers(log: ChannelLog, first: number, span: Span): number {
    const [, , , names, masks] = span;
    let held = 0;
    for (let index = 0; index < names.length; index++) {
      const other = this.#channels.get(names[index] ?? NO_CHANNEL);
      if (other === undefined || other === log) continue;
      held |= (masks[index] ?? 0) & ~lowBits(other.floor - first + 1);
    }
    return held;
  }
}

/** The position above which retention keeps all entries. */
function unreadFromOf(readers: Iterable<JournalReader>, head: number): number {
  let from = Number.POSITIVE_INFINITY;
  for (const reader of readers) from = Math.min(from, Math.max(reader.position() ?? 0, head - reader.maxEvents));
  return from;
}

async function deleteIds(db: Database, lasts: readonly number[], set: WriteSet): Promise<void> {
  if (lasts.length === 0) return;
  for (const [index, chunk] of (await db.getMany(lasts.map(chunkKey))).entries()) {
    if (chunk !== undefined) for (const key of idKeysOfChunk(lasts[index] ?? 0, chunk)) set.del(key);
  }
}
