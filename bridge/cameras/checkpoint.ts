import type { Logger } from "pino";
import { z } from "zod";
import { DASHBOARD } from "../../contract/channels.ts";
import type { TopicTree } from "../../contract/topics.ts";
import { LeaseLostError } from "../../platform/errors.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import type { Entry, Journal, Recovery } from "../journal/journal.ts";
import type { CheckpointedRules } from "./watcher-rules.ts";

export interface CheckpointOptions {
  journal: Pick<Journal, "epoch" | "head" | "follow" | "read" | "recovery" | "snapshot">;
  documents: Pick<Documents, "list" | "get" | "put" | "delete">;
  logger: Logger;
}

/** The options of a watcher that publishes what it derives from the journal. */
export interface PublishingWatcherOptions extends CheckpointOptions {
  journal: CheckpointOptions["journal"] & Pick<Journal, "state">;
  tree: TopicTree;
  publish: Publish;
  /** Cameras above this number are not watched. */
  maxCameras?: number;
  /** The server's own clock, milliseconds. Default: the system's. */
  now?: () => number;
}

/** Milliseconds between two saves. A start after a crash replays at most this much of the journal. */
const SAVE_INTERVAL_MS = 60_000;

/** The name is on disk and in Redis: it must not change. */
const CHECKPOINTS = "fold-checkpoints";
const checkpointSchema = z.object({ epoch: z.string(), position: z.number().int().nonnegative() });
const MAX_CONCURRENT_WRITES = 64;

/**
 * Follows the journal from the last run's checkpoint: restores the saved documents, replays the entries above the
 * checkpoint, then applies new entries. Starts at the end of the journal if those entries have expired.
 * @throws {StoreUnavailableError}
 */
export async function followFromCheckpoint(rules: CheckpointedRules, options: CheckpointOptions) {
  const { journal, documents, logger } = options;
  const { collection } = rules;
  let position = 0;
  /** New entries that arrive during the replay. */
  let waiting: Entry[] | undefined = [];
  const unsaved = new Map<string, Json | null>();

  const apply = (entry: Entry): void => {
    position = entry.position;
    rules.apply(entry);
  };
  const unfollow = journal.follow((entries) => {
    // After a failover that lost entries, new ones have positions that this watcher has seen.
    if (waiting === undefined) for (const entry of entries) apply(entry);
    else waiting.push(...entries);
  });

  /** @returns false when there is no checkpoint, or entries above its position have expired */
  async function resume(): Promise<boolean> {
    const read = checkpointSchema.safeParse((await documents.get(CHECKPOINTS, collection))?.value);
    if (!read.success || !isContinued(journal.recovery(DASHBOARD, read.data), read.data.position)) return false;
    for (const { key, value } of await documents.list(collection)) rules.restore(key, value);
    position = read.data.position;
    const until = journal.head;
    for (let after = position; after < until; ) {
      const page = await journal.read({ after });
      if (page.gap !== undefined) rules.missed?.();
      for (const entry of page.entries) if (entry.position > position) apply(entry);
      after = page.next;
    }
    position = Math.max(position, until);
    return true;
  }

  async function save(): Promise<void> {
    for (const key of rules.changed) unsaved.set(key, rules.document(key));
    rules.changed.clear();
    const reached = position;
    const rows = [...unsaved];
    for (let from = 0; from < rows.length; from += MAX_CONCURRENT_WRITES) {
      await Promise.all(
        rows.slice(from, from + MAX_CONCURRENT_WRITES).map(async ([key, value]) => {
          if (value === null) await documents.delete(collection, key);
          else await documents.put(collection, key, value);
          if (unsaved.get(key) === value) unsaved.delete(key);
        }),
      );
    }
    // The checkpoint is written last: a document newer than the checkpoint is harmless, but an older document would
    // lack the entries in between.
    await documents.put(CHECKPOINTS, collection, { epoch: journal.epoch, position: reached });
  }

  let saving: Promise<void> = Promise.resolve();
  const enqueueSave = (): Promise<void> => {
    saving = saving.then(save).catch((error: unknown) => {
      if (error instanceof LeaseLostError) logger.debug({ collection }, "another node saves the watcher state");
      else logger.warn({ err: error, collection }, "watcher state not saved, retrying");
    });
    return saving;
  };

  try {
    const isFresh = !(await resume());
    if (isFresh) {
      position = journal.head;
      for (const { key } of await documents.list(collection)) unsaved.set(key, null);
    }
    rules.seed?.(journal.snapshot(DASHBOARD), isFresh);
  } catch (error) {
    unfollow();
    throw error;
  }
  for (const entry of waiting) if (entry.position > position) apply(entry);
  waiting = undefined;
  // If this node dies now, the next node continues here.
  void enqueueSave();
  const timer = setInterval(() => void enqueueSave(), SAVE_INTERVAL_MS);
  timer.unref();

  return {
    /** Saves now. Never rejects. */
    save: enqueueSave,
    /** Saves for the last time. Never rejects. */
    async stop() {
      clearInterval(timer);
      unfollow();
      await enqueueSave();
    },
  };
}

/** Whether the journal has everything above the position, perhaps in an epoch that continues the checkpoint's epoch. */
function isContinued(recovery: Recovery, position: number): boolean {
  return recovery.complete || (recovery.reason === "epoch_changed" && recovery.keptFrom === position);
}
