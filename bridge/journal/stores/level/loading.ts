import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import type { OnDamage } from "../../../../platform/level/damage.ts";
import { openDatabase, repairDatabase } from "../../../../platform/level/database.ts";
import type { Loss } from "../../../../platform/level/open-store.ts";
import { type Database, WriteSet } from "../../../../platform/level/write-set.ts";
import { ChannelLogs, type MetaRow } from "./channel-logs.ts";
import { bootOfMachine, copiedSince, lossSince, readCheckpoint } from "./checkpoint.ts";
import { findMissing } from "./continuity.ts";
import { Deduplicator } from "./deduplicator.ts";
import type { Waiting } from "./group.ts";
import { HEAD_KEY, META_KEY, positionOfKey, rowsOf } from "./keys.ts";
import type { KnownGaps } from "./known-gaps.ts";
import type { JournalLimits } from "./limits.ts";
import { StateTable } from "./state-table.ts";

/** What of a journal is held in memory. */
export interface LoadedJournal {
  db: Database;
  channels: ChannelLogs;
  deduplicator: Deduplicator<Waiting>;
  states: StateTable;
  head: number;
}

export interface LoadOptions {
  path: string;
  limits: JournalLimits;
  knownGaps: KnownGaps;
  onDamage: OnDamage;
  logger: Logger;
}

/**
 * Opens a journal and reads what is held of it in memory. What is damaged is repaired, once. Where entries are missing
 * afterwards and it is known which, readers are told of the knownGaps. Where it is not known, the journal gets a new epoch:
 * clients whose place is in the old one are told so instead of being given other entries under positions they know. So
 * does one that was put back from a copy, for it may be older than what clients have seen.
 * @throws {StoreUnusableError}
 */
export async function loadJournal({ path, limits, knownGaps, onDamage, logger }: LoadOptions): Promise<LoadedJournal> {
  const checkpoint = await readCheckpoint(path);
  const boot = await bootOfMachine();
  let { db, loss } = await openDatabase(path, WHAT);
  let loaded: Omit<LoadedJournal, "db">;
  try {
    loaded = await load(db, limits);
  } catch (error) {
    await db.close();
    ({ db, loss } = await repairDatabase(path, WHAT, error));
    loaded = await load(db, limits).catch(async (cause: unknown) => {
      await db.close();
      throw cause;
    });
  }
  warnOfSkippedStates(loaded.states, logger);
  const known = await db.get(META_KEY);
  const isBounded = loss !== undefined && (await concernsEntriesOnly(loss, db));
  const behind = lossSince(checkpoint, loaded.channels.epoch, loaded.head, boot);
  const copied = loss === undefined && behind === undefined ? await copiedSince(path, checkpoint) : undefined;
  if (known === undefined || (loss !== undefined && !isBounded) || behind !== undefined || copied !== undefined) {
    // Positions never go back, whatever the epoch.
    loaded.head = Math.max(loaded.head, checkpoint?.head ?? 0);
    const before = loaded.channels.epoch;
    const epoch = newEpoch();
    loaded.channels.setEpoch(epoch);
    const set = new WriteSet();
    loaded.channels.putMeta(set);
    set.put(HEAD_KEY, String(loaded.head));
    await set.write(db, true);
    if (copied !== undefined) logger.warn({ reason: copied, before, epoch }, "the journal begins a new epoch");
    const lost = loss?.reason ?? behind;
    if (lost !== undefined) {
      logger.error({ loss: lost, epoch, head: loaded.head }, "journal is damaged and may have lost entries");
      onDamage({
        ...{ store: "journal", found: lost },
        missing: "events may be missing: a new epoch has begun, and clients are told that there is a gap",
      });
    }
  }
  if (loss !== undefined) await reportMissing(db, loss, loaded.channels, { knownGaps, onDamage, logger, isBounded });
  return { db, ...loaded };
}

/** A start that does without some states is better than one that never ends for want of memory. */
export function warnOfSkippedStates({ skipped }: StateTable, logger: Logger): void {
  if (skipped === 0) return;
  logger.error(
    { skipped },
    "the last values of some retained topics are too large to be loaded: they are not shown until they are published anew (see MAX_RETAINED_BYTES)",
  );
}

const WHAT = "the journal";

/** Whether nothing but entries is lost, and newer ones are there: then the numbers around the knownGaps tell them. */
async function concernsEntriesOnly({ isBounded, ranges }: Loss, db: Database): Promise<boolean> {
  const { gte, lt } = rowsOf("m");
  const [newest] = await db.keys({ gte, lt, reverse: true, limit: 1 }).all();
  return isBounded && newest !== undefined && ranges.every(({ from, to }) => from >= gte && to < newest);
}

async function reportMissing(
  db: Database,
  loss: Loss,
  channels: ChannelLogs,
  {
    knownGaps,
    onDamage,
    logger,
    isBounded,
  }: Pick<LoadOptions, "knownGaps" | "onDamage" | "logger"> & { isBounded: boolean },
): Promise<void> {
  const { missing } = await findMissing(db, channels.all());
  for (const { channel, gap } of missing) knownGaps.note(channel, gap);
  if (!isBounded) return;
  const told = missing.map(
    ({ channel, gap, count }) => `${count} of ${channel || "no channel"} between ${gap.after} and ${gap.before}`,
  );
  const summary = told.length === 0 ? "no event is missing" : `events are missing: ${told.slice(0, 10).join(", ")}`;
  const rest = told.length > 10 ? `, and ${told.length - 10} more` : "";
  logger.error({ loss: loss.reason, missing: told.length }, `journal is damaged: ${summary}${rest}`);
  onDamage({
    store: "journal",
    found: loss.reason,
    missing: `${summary}${rest}; clients that ask for them are told of the gap`,
  });
}

async function load(db: Database, limits: JournalLimits): Promise<Omit<LoadedJournal, "db">> {
  const row = await db.get(META_KEY);
  const meta: MetaRow = row === undefined ? { epoch: newEpoch(), forgottenFloor: 0 } : JSON.parse(row);
  const channels = new ChannelLogs(meta, limits.maxChannels);
  const deduplicator = new Deduplicator<Waiting>(limits);
  const states = new StateTable(limits);
  await channels.load(db);
  await deduplicator.load(db);
  await states.load(db);
  return { channels, deduplicator, states, head: await headOf(db) };
}

async function headOf(db: Database): Promise<number> {
  const [newest] = await db.keys({ ...rowsOf("m"), reverse: true, limit: 1 }).all();
  return Math.max(newest === undefined ? 0 : positionOfKey(newest), Number((await db.get(HEAD_KEY)) ?? 0));
}

function newEpoch(): string {
  return randomBytes(6).toString("base64url");
}
