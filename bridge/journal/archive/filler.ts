import { setTimeout } from "node:timers/promises";
import type { Logger } from "pino";
import { backoffMs } from "../../../platform/backoff.ts";
import { messageOf } from "../../../platform/errors.ts";
import type { Journal } from "../journal.ts";
import type { RetentionDays } from "./config.ts";
import type { ArchiveBatch, ArchiveDatabase, ArchivePosition } from "./database.ts";
import { ArchivePace } from "./pace.ts";

/** The journal's name for this reader. With PostgreSQL, every node uses it, because they fill the same archive. */
const READER = "archive";
/** The first event after a quiet time waits this long for others, which share its transaction. */
const GATHER_MS = 250;
/** If fewer events are not archived yet, they wait for others: a transaction costs as much as some hundred events. */
const WORTH_A_PAGE = 250;
const MAX_BATCH_BYTES = 1_048_576;
const RETRY = { minMs: 500, maxMs: 10_000 };
/** The number of newest batches for which the time of storing is kept. */
const MAX_NOTED_BATCHES = 1_000;
/** The time between two searches for events that are too old. */
const PRUNE_MS = 60_000;
/** The pause between two deletions, so that other users of the database come first. */
const PRUNE_PAUSE_MS = 50;
/** The longest time that a timer of Node.js can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/**
 * When the archive stops, it waits this long for the current batch. The next start continues at the stored position.
 */
const STOP_TIMEOUT_MS = 2_000;

export interface ArchiveStatus {
  /** Whether this node fills the archive. With PostgreSQL, one of several nodes does. */
  isFilling: boolean;
  /** Everything up to this position of the journal is archived. Undefined until this is known. */
  position: number | undefined;
  /** The number of events in the journal that are not archived yet. Undefined until this is known. */
  behind: number | undefined;
  /** Why the archive cannot store events; undefined while it can. */
  unavailableReason: string | undefined;
}

/** The part of the journal that the archive uses. */
export type ArchivedJournal = Pick<Journal, "epoch" | "head" | "read" | "follow" | "onReset" | "keepFor">;

export interface FillerOptions {
  journal: ArchivedJournal;
  retentionDays: RetentionDays;
  /** The journal keeps at most this many events that are not archived yet. */
  maxLagEvents: number;
  /** Whether the other nodes fill the same archive. */
  isShared: boolean;
  open: () => ArchiveDatabase;
  now?: () => number;
  /** Default: a pace that follows the utilization of the event loop. */
  pace?: ArchivePace;
  logger: Logger;
}

/**
 * Copies the journal into the archive, page by page. An append only wakes the filler. The filler works less while the
 * event loop is busy with live events: see {@link ArchivePace}. Retention keeps up to `maxLagEvents` entries that are
 * not archived yet.
 */
export class ArchiveFiller {
  readonly #options: FillerOptions;
  readonly #now: () => number;
  readonly #pace: ArchivePace;
  #database: ArchiveDatabase | undefined;
  #position: ArchivePosition | undefined;
  #unavailableReason: string | undefined;
  #isFilling = false;
  #hasOpened = false;
  #prunedAt = Number.NEGATIVE_INFINITY;
  /** When the newest batches were stored, by `performance.now()`. */
  readonly #stored: (Pick<ArchiveBatch, "epoch" | "after" | "next"> & { at: number })[] = [];
  #wake = () => {};

  constructor(options: FillerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#pace = options.pace ?? new ArchivePace();
  }

  status(): ArchiveStatus {
    const position = this.#positionNow();
    return {
      isFilling: this.#isFilling,
      position,
      behind: position === undefined ? undefined : this.#behind(position),
      unavailableReason: this.#unavailableReason,
    };
  }

  /** When this node archived the event, by `performance.now()`; undefined when this is no longer known. */
  storedAt(epoch: string, position: number): number | undefined {
    const batch = this.#stored.find((one) => one.epoch === epoch && one.after < position && position <= one.next);
    return batch?.at;
  }

  /** Begins to copy. */
  begin(): { stop(): Promise<void> } {
    const { journal, maxLagEvents, isShared } = this.#options;
    const stopped = new AbortController();
    this.#isFilling = true;
    const ends = [
      journal.keepFor({ name: READER, isShared, maxEvents: maxLagEvents, position: () => this.#positionNow() }),
      journal.follow(() => this.#wake()),
      journal.onReset(() => this.#wake()),
    ];
    const ended = this.#run(stopped.signal);
    return {
      stop: async () => {
        stopped.abort();
        this.#wake();
        for (const end of ends) end();
        const timeout = new AbortController();
        await Promise.race([ended, pause(STOP_TIMEOUT_MS, timeout.signal)]);
        timeout.abort();
        // This ends a call that a frozen database never answers.
        await this.close();
        await ended;
        this.#isFilling = false;
        this.#position = undefined;
      },
    };
  }

  /** Whether the database was opened once, so that its tables exist. */
  get hasOpened(): boolean {
    return this.#hasOpened;
  }

  async close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    await database?.close();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#copy(signal, () => {
          if (failures > 0) logger.info({ position: this.#position?.position }, "archive works again");
          failures = 0;
        });
      } catch (error) {
        if (signal.aborted) return;
        this.#unavailableReason = `the archive cannot store events: ${messageOf(error)}`;
        if (failures === 0) logger.warn({ err: error }, "archive cannot store events, retrying");
        await this.close();
        await pause(backoffMs(failures++, RETRY) + RETRY.minMs, signal);
      }
    }
  }

  async #copy(signal: AbortSignal, onWorked: () => void): Promise<void> {
    this.#database ??= this.#options.open();
    const database = this.#database;
    // The position is read again after a failure, because the last batch may or may not have been stored.
    this.#position = await database.position();
    this.#hasOpened = true;
    while (!signal.aborted) {
      const batch = await this.#nextBatch(this.#pace.begin());
      if (batch !== undefined && !(await database.append(batch))) {
        this.#position = await database.position();
        continue;
      }
      if (batch !== undefined) this.#noteStored(batch);
      this.#unavailableReason = undefined;
      onWorked();
      const behind = this.#behind(this.#positionNow() ?? 0);
      const waitMs = this.#pace.end(behind / this.#options.maxLagEvents);
      if (behind >= WORTH_A_PAGE) await pause(waitMs, signal);
      else if (await this.#prune(database)) await pause(PRUNE_PAUSE_MS, signal);
      else await this.#news(signal);
    }
  }

  /** The next entries of the journal; undefined if all are archived. */
  async #nextBatch(maxEvents: number): Promise<ArchiveBatch | undefined> {
    const { journal } = this.#options;
    const { epoch } = journal;
    const after = this.#positionNow() ?? 0;
    // In a new epoch without entries, an empty batch stores the epoch.
    if (journal.head <= after && this.#position?.epoch === epoch) return undefined;
    const page = await journal.read({ after, maxEvents, maxBytes: MAX_BATCH_BYTES });
    // The journal was replaced while the page was read.
    if (journal.epoch !== epoch) return undefined;
    const { entries, next, gap } = page;
    return { epoch, after, next, entries, ...(gap === undefined ? {} : { gap }) };
  }

  #noteStored({ epoch, after, next, gap }: ArchiveBatch): void {
    this.#position = { epoch, position: next };
    this.#stored.push({ epoch, after, next, at: performance.now() });
    if (this.#stored.length > MAX_NOTED_BATCHES) this.#stored.shift();
    // A new archive always lacks the events that the journal had already removed.
    if (gap === undefined || after === 0) return;
    this.#options.logger.warn(
      { after: gap.after, before: gap.before, reason: gap.reason },
      "events are missing in the archive: the journal no longer had them (see ARCHIVE_MAX_LAG_EVENTS)",
    );
  }

  /** The archived position of the journal's current epoch. */
  #positionNow(): number | undefined {
    return this.#position?.epoch === this.#options.journal.epoch ? this.#position.position : undefined;
  }

  #behind(position: number): number {
    return Math.max(0, this.#options.journal.head - position);
  }

  /**
   * Resolves a short time after the journal gets new entries, or when it is time to search for events that are too old.
   */
  async #news(signal: AbortSignal): Promise<void> {
    const { journal, retentionDays } = this.#options;
    const hasNews = () => signal.aborted || journal.head !== this.#positionNow();
    if (!hasNews())
      await new Promise<void>((resolve) => {
        const longestMs = Object.keys(retentionDays).length === 0 ? LONGEST_TIMER_MS : PRUNE_MS;
        const timer = globalThis.setTimeout(resolve, longestMs).unref();
        this.#wake = () => {
          if (!hasNews()) return;
          clearTimeout(timer);
          resolve();
        };
      });
    this.#wake = () => {};
    if (hasNews()) await pause(GATHER_MS, signal);
  }

  /** Deletes some events that are too old. @returns whether there may be more */
  async #prune(database: ArchiveDatabase): Promise<boolean> {
    const { retentionDays } = this.#options;
    if (Object.keys(retentionDays).length === 0 || performance.now() - this.#prunedAt < PRUNE_MS) return false;
    const hasMore = (await database.prune(retentionDays, this.#now())) > 0;
    if (!hasMore) this.#prunedAt = performance.now();
    return hasMore;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal, ref: false }).catch(() => undefined);
}
