import { setTimeout } from "node:timers/promises";
import type { Logger } from "pino";
import { backoffMs } from "../../../platform/backoff.ts";
import { messageOf } from "../../../platform/errors.ts";
import type { Journal } from "../journal.ts";
import type { RetentionDays } from "./config.ts";
import type { ArchiveBatch, ArchiveDatabase, ArchivePosition } from "./database.ts";

/** Between two looks at the journal when everything is archived. Events of this time share a transaction. */
const LOOK_MS = 250;
const MAX_BATCH_EVENTS = 1_000;
const MAX_BATCH_BYTES = 1_048_576;
const RETRY = { minMs: 500, maxMs: 10_000 };
/** Batches whose time is known. */
const MAX_NOTED_BATCHES = 1_000;
/** Between two looks for events that are too old. */
const PRUNE_MS = 60_000;
/** Between two deletions: other users of the database come first. */
const PRUNE_PAUSE_MS = 50;
/** A batch under way has this time when the archive stops. The stored position decides what is archived again. */
const STOP_TIMEOUT_MS = 2_000;

export interface ArchiveStatus {
  /** Whether this node fills the archive. With PostgreSQL, one of several nodes does. */
  isFilling: boolean;
  /** Everything up to this position of the journal is archived. Undefined until this is known. */
  position: number | undefined;
  /** The number of events in the journal that are not archived yet. Undefined until this is known. */
  behind: number | undefined;
  /** Why the archive does not take or give events; undefined while it does. */
  unavailableReason: string | undefined;
}

interface FillerOptions {
  journal: Pick<Journal, "epoch" | "head" | "read">;
  retentionDays: RetentionDays;
  open: () => ArchiveDatabase;
  now?: () => number;
  logger: Logger;
}

/**
 * Copies the journal into the archive, page by page. It looks at the journal's head from time to time, so an append
 * costs nothing more with an archive.
 */
export class ArchiveFiller {
  readonly #options: FillerOptions;
  readonly #now: () => number;
  #database: ArchiveDatabase | undefined;
  #position: ArchivePosition | undefined;
  #unavailableReason: string | undefined;
  #isFilling = false;
  #hasOpened = false;
  #prunedAt = Number.NEGATIVE_INFINITY;
  /** When the newest batches were stored, by `performance.now()`. */
  readonly #stored: (Pick<ArchiveBatch, "epoch" | "after" | "next"> & { at: number })[] = [];

  constructor(options: FillerOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  status(): ArchiveStatus {
    const { epoch, head } = this.#options.journal;
    const position = this.#position?.epoch === epoch ? this.#position.position : undefined;
    return {
      isFilling: this.#isFilling,
      position,
      behind: position === undefined ? undefined : Math.max(0, head - position),
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
    const stopped = new AbortController();
    this.#isFilling = true;
    const ended = this.#run(stopped.signal);
    return {
      stop: async () => {
        stopped.abort();
        const timeout = new AbortController();
        await Promise.race([ended, pause(STOP_TIMEOUT_MS, timeout.signal)]);
        timeout.abort();
        // A frozen database gives no answer.
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
        this.#unavailableReason = `the archive does not take events: ${messageOf(error)}`;
        if (failures === 0) logger.warn({ err: error }, "archive does not take events, retrying");
        await this.close();
        await pause(backoffMs(failures++, RETRY) + RETRY.minMs, signal);
      }
    }
  }

  async #copy(signal: AbortSignal, onWorked: () => void): Promise<void> {
    this.#database ??= this.#options.open();
    const database = this.#database;
    // Also after a failure: whether the last batch was stored may be unknown.
    this.#position = await database.position();
    this.#hasOpened = true;
    while (!signal.aborted) {
      const batch = await this.#nextBatch();
      if (batch !== undefined && !(await database.append(batch))) {
        this.#position = await database.position();
        continue;
      }
      if (batch !== undefined) this.#noteStored(batch);
      this.#unavailableReason = undefined;
      onWorked();
      if (batch === undefined || batch.next >= this.#options.journal.head) {
        await pause((await this.#prune(database)) ? PRUNE_PAUSE_MS : LOOK_MS, signal);
      }
    }
  }

  #noteStored({ epoch, after, next }: ArchiveBatch): void {
    this.#position = { epoch, position: next };
    this.#stored.push({ epoch, after, next, at: performance.now() });
    if (this.#stored.length > MAX_NOTED_BATCHES) this.#stored.shift();
  }

  /** The next entries of the journal; undefined if all are archived. */
  async #nextBatch(): Promise<ArchiveBatch | undefined> {
    const { journal } = this.#options;
    const { epoch } = journal;
    const after = this.#position?.epoch === epoch ? this.#position.position : 0;
    // An empty batch stores the new epoch.
    if (journal.head <= after && this.#position?.epoch === epoch) return undefined;
    const page = await journal.read({ after, maxEvents: MAX_BATCH_EVENTS, maxBytes: MAX_BATCH_BYTES });
    // The journal was replaced while the page was read.
    if (journal.epoch !== epoch) return undefined;
    const { entries, next, gap } = page;
    return { epoch, after, next, entries, ...(gap === undefined ? {} : { gap }) };
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
