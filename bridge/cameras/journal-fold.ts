import type { Logger } from "pino";
import { z } from "zod";
import { DASHBOARD } from "../../contract/channels.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import type { Entry, Journal, StateEntry } from "../journal/journal.ts";

/** Something that is made of the journal's entries, one after the other, and must not begin anew at each start. */
export interface Fold {
  /** The collection of its documents. */
  readonly collection: string;
  /** What a document held; one that is not understood is left out. */
  restore(key: string, value: Json): void;
  /**
   * @param replayed it came while nobody looked: read again, from the dashboard's channel, which has no replies
   */
  apply(entry: Entry, replayed: boolean): void;
  /** What is retained now. @param fresh nothing was restored: it is not known since when what is has been so */
  seed(states: readonly StateEntry[], fresh: boolean): void;
  /** What changed since the last call: document by key, null for one that is gone. */
  changes(): Map<string, Json | null>;
}

export interface JournalFoldOptions {
  fold: Fold;
  journal: Pick<Journal, "epoch" | "head" | "follow" | "replay" | "recovery" | "snapshot">;
  documents: Pick<Documents, "list" | "get" | "put" | "delete">;
  /** Between two saves, milliseconds: what the start after a crash reads again. Default 60,000. */
  saveIntervalMs?: number;
  logger: Logger;
}

export interface RunningFold {
  /** Does not wait for the next turn. Never rejects. */
  save(): Promise<void>;
  /** Saves what is not saved yet, and leaves. Never rejects. */
  stop(): Promise<void>;
}

const CHECKPOINTS = "fold-checkpoints";
const checkpointSchema = z.object({ epoch: z.string(), position: z.number().int().nonnegative() });
const WRITES_AT_ONCE = 64;

/**
 * Lets a fold go on where it stopped: documents say what it had made of the journal up to a position, and what came
 * after that is read again. Where that is not kept any more it begins anew at the journal's head.
 * @throws {StoreUnavailableError}
 */
export async function startFold(options: JournalFoldOptions): Promise<RunningFold> {
  const { fold, journal, documents, saveIntervalMs = 60_000, logger } = options;
  const { collection } = fold;
  let position = 0;
  let waiting: Entry[] | undefined = [];
  const dirty = new Map<string, Json | null>();

  const apply = (entry: Entry, replayed: boolean): void => {
    if (entry.position <= position) return;
    position = entry.position;
    fold.apply(entry, replayed);
  };
  const unfollow = journal.follow((entries) => {
    if (waiting === undefined) for (const entry of entries) apply(entry, false);
    else waiting.push(...entries);
  });

  async function resume(): Promise<boolean> {
    const read = checkpointSchema.safeParse((await documents.get(CHECKPOINTS, collection))?.value);
    if (!read.success || !journal.recovery(DASHBOARD, read.data).complete) return false;
    for (const { key, value } of await documents.list(collection)) fold.restore(key, value);
    position = read.data.position;
    const until = journal.head;
    for (let after = position, done = after >= until; !done; ) {
      const page = await journal.replay({ channels: [DASHBOARD], after, until });
      for (const entry of page.entries) apply(entry, true);
      after = page.next;
      done = page.done;
    }
    position = Math.max(position, until);
    return true;
  }

  async function save(): Promise<void> {
    for (const [key, value] of fold.changes()) dirty.set(key, value);
    const reached = position;
    const rows = [...dirty];
    for (let from = 0; from < rows.length; from += WRITES_AT_ONCE) {
      await Promise.all(
        rows.slice(from, from + WRITES_AT_ONCE).map(async ([key, value]) => {
          if (value === null) await documents.delete(collection, key);
          else await documents.put(collection, key, value);
          if (dirty.get(key) === value) dirty.delete(key);
        }),
      );
    }
    // Last: a document that is newer than the checkpoint does no harm, an older one would miss what lies between.
    await documents.put(CHECKPOINTS, collection, { epoch: journal.epoch, position: reached });
  }

  let saving: Promise<void> = Promise.resolve();
  const saveSoon = (): Promise<void> => {
    saving = saving.then(save).catch((error: unknown) => logger.warn({ err: error, collection }, "not saved"));
    return saving;
  };

  try {
    const fresh = !(await resume());
    if (fresh) {
      position = journal.head;
      for (const { key } of await documents.list(collection)) dirty.set(key, null);
    }
    fold.seed(journal.snapshot(DASHBOARD), fresh);
  } catch (error) {
    unfollow();
    throw error;
  }
  for (const entry of waiting) apply(entry, false);
  waiting = undefined;
  const timer = setInterval(() => void saveSoon(), saveIntervalMs);
  timer.unref();

  let stopping: Promise<void> | undefined;
  return {
    save: saveSoon,
    stop() {
      stopping ??= (async () => {
        clearInterval(timer);
        unfollow();
        await saveSoon();
      })();
      return stopping;
    },
  };
}
