import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { counted } from "../../../../platform/counted.ts";
import type { OnDamage } from "../../../../platform/level/damage.ts";
import { openDatabase, repairDatabase } from "../../../../platform/level/database.ts";
import type { Loss } from "../../../../platform/level/open-store.ts";
import type { KeyRange } from "../../../../platform/level/table-file.ts";
import { type Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { KnownGaps } from "../../core/known-gaps.ts";
import type { JournalLimits } from "../../core/limits.ts";
import type { PublicationRows } from "../../core/publication-rows.ts";
import { StateTable, warnOfSkippedStates } from "../../core/state-table.ts";
import { ChannelLogs, type MetaRow } from "./channel-logs.ts";
import { bootOfMachine, copiedSince, lossSince, readCheckpoint } from "./checkpoint.ts";
import { findMissing } from "./continuity.ts";
import { Deduplicator } from "./deduplicator.ts";
import type { Waiting } from "./group.ts";
import { HEAD_KEY, META_KEY, positionOfKey, rowsOf } from "./keys.ts";
import { concerns, isOfLog, lostOfLog, lostPublicationsUntil, restoreRows } from "./log-damage.ts";
import { loadPublicationRows } from "./publication-log.ts";
import { beginDoubt, endDoubt, readRow } from "./row-copies.ts";
import { loadStates } from "./state-rows.ts";

export interface LoadedJournal {
  db: Database;
  channels: ChannelLogs;
  deduplicator: Deduplicator<Waiting>;
  states: StateTable;
  head: number;
  publications: PublicationRows;
  /** All versions of the broker's rows are below this number. */
  nextRowVersion: number;
}

interface LoadOptions {
  path: string;
  limits: JournalLimits;
  knownGaps: KnownGaps;
  onDamage: OnDamage;
  logger: Logger;
}

/**
 * Opens a journal and loads its tables. A damaged database is repaired once. If the repair shows which entries are
 * missing, they become known gaps. Otherwise the journal gets a new epoch, so that a position that a client knows never
 * names another entry. A restored copy also gets a new epoch: it may be older than the cursors of clients.
 * @throws {StoreUnusableError} the journal cannot be repaired
 */
export async function loadJournal(options: LoadOptions): Promise<LoadedJournal> {
  const { path, knownGaps, onDamage, logger } = options;
  const areRowsInDoubt = await beginDoubt(path);
  const checkpoint = await readCheckpoint(path);
  const boot = await bootOfMachine();
  let { db, loss } = await openDatabase(path, WHAT);
  let loaded: Omit<LoadedJournal, "db" | "nextRowVersion">;
  try {
    loaded = await load(db, options);
  } catch (error) {
    await db.close();
    ({ db, loss } = await repairDatabase(path, WHAT, error));
    loaded = await load(db, options).catch(async (cause: unknown) => {
      await db.close();
      throw cause;
    });
  }
  warnOfSkippedStates(loaded.states, logger);
  const known = await db.get(META_KEY);
  const isBounded = loss !== undefined && (await isLossKnown(loss, db));
  const behind = lossSince(checkpoint, loaded.channels.epoch, loaded.head, boot);
  const copied = loss === undefined && behind === undefined ? await copiedSince(path, checkpoint) : undefined;
  if (known === undefined || (loss !== undefined && !isBounded) || behind !== undefined || copied !== undefined) {
    // Positions never decrease, not even in a new epoch.
    loaded.head = Math.max(loaded.head, checkpoint?.head ?? 0);
    const before = loaded.channels.epoch;
    const epoch = newEpoch();
    loaded.channels.epoch = epoch;
    const set = new WriteSet();
    loaded.channels.putMeta(set);
    set.put(HEAD_KEY, String(loaded.head));
    await set.write(db, true);
    if (copied !== undefined) logger.warn({ reason: copied, before, epoch }, "journal begins a new epoch");
    const lost = loss?.reason ?? behind;
    if (lost !== undefined) {
      logger.error({ loss: lost, epoch, head: loaded.head }, "journal is damaged and may have lost entries");
      const missing = "events may be missing: a new epoch has begun, and clients are told of a gap";
      onDamage({ store: "journal", found: lost, missing });
    }
  }
  if (loss !== undefined) {
    const { publications } = loaded;
    publications.last = Math.max(publications.last, lostPublicationsUntil(loss, loaded.head));
    await reportMissing(db, loss, loaded.channels, { knownGaps, onDamage, logger, isBounded });
  }
  const areRowsLost = loss !== undefined && concerns(loss, "c");
  if (areRowsInDoubt || areRowsLost) await restoreRowsOf(db, options, areRowsLost);
  await endDoubt(path);
  return { db, ...loaded, nextRowVersion: await nextRowVersion(db) };
}

const WHAT = "the journal";
const MAX_NAMED = 10;

/**
 * Whether only entries with newer entries after them are lost, and rows for MQTT sessions. The counts in the newer rows
 * then show which events are missing.
 */
async function isLossKnown({ isBounded, ranges }: Loss, db: Database): Promise<boolean> {
  const { gte, lt } = rowsOf("m");
  const [newest] = await db.keys({ gte, lt, reverse: true, limit: 1 }).all();
  const isOfEntries = ({ from, to }: KeyRange) => newest !== undefined && from >= gte && to < newest;
  return isBounded && ranges.every((range) => isOfEntries(range) || isOfLog(range));
}

async function restoreRowsOf(
  db: Database,
  { path, onDamage, logger }: LoadOptions,
  areRowsLost: boolean,
): Promise<void> {
  const { restored, isComplete } = await restoreRows(db, path);
  if (restored.length > 0) {
    const rows = restored.slice(0, MAX_NAMED);
    logger.warn(
      { restored: restored.length, rows },
      "rows of MQTT sessions were lost and are restored from their copy",
    );
    const missing = `nothing: ${counted(restored.length, "row")} of MQTT sessions and wills ${restored.length === 1 ? "is" : "are"} restored from the copy`;
    onDamage({ store: "journal", found: "rows of MQTT sessions were lost", missing });
  }
  if (isComplete || !areRowsLost) return;
  logger.error("the copy of the MQTT sessions is incomplete: sessions may be missing");
  const missing = "sessions may be missing: their clients must subscribe again";
  onDamage({ store: "journal", found: "the copy of the MQTT sessions is incomplete too", missing });
}

async function nextRowVersion(db: Database): Promise<number> {
  let newest = 0;
  for await (const text of db.values(rowsOf("c"))) newest = Math.max(newest, readRow(text).version);
  return newest + 1;
}

async function reportMissing(
  db: Database,
  loss: Loss,
  channels: ChannelLogs,
  options: Pick<LoadOptions, "knownGaps" | "onDamage" | "logger"> & { isBounded: boolean },
): Promise<void> {
  const { knownGaps, onDamage, logger, isBounded } = options;
  const { missing } = await findMissing(db, channels.all());
  for (const { channel, gap } of missing) knownGaps.add(channel, gap);
  if (!isBounded) return;
  const descriptions = missing.map(
    ({ channel, gap, count }) => `${count} of ${channel || "no channel"} between ${gap.after} and ${gap.before}`,
  );
  const { length } = descriptions;
  const named = descriptions.slice(0, MAX_NAMED).join(", ");
  const summary = length === 0 ? "no event is missing" : `events are missing: ${named}`;
  const rest = length > MAX_NAMED ? `, and ${length - MAX_NAMED} more` : "";
  logger.error({ loss: loss.reason, missing: length }, `journal is damaged: ${summary}${rest}`);
  const told = length === 0 ? "" : "; clients that request them are told of the gap";
  const missingText = [`${summary}${rest}${told}`, ...lostOfLog(loss)].join("; ");
  onDamage({ store: "journal", found: loss.reason, missing: missingText });
}

async function load(
  db: Database,
  { limits, knownGaps }: LoadOptions,
): Promise<Omit<LoadedJournal, "db" | "nextRowVersion">> {
  const row = await db.get(META_KEY);
  const meta: MetaRow = row === undefined ? { epoch: newEpoch(), forgottenFloor: 0 } : JSON.parse(row);
  const channels = new ChannelLogs(meta, limits.maxChannels, knownGaps);
  const deduplicator = new Deduplicator<Waiting>(limits);
  const states = new StateTable(limits);
  await channels.load(db);
  await deduplicator.load(db);
  await loadStates(db, states);
  const head = await headOf(db);
  return { channels, deduplicator, states, head, publications: await loadPublicationRows(db, head) };
}

async function headOf(db: Database): Promise<number> {
  const [newest] = await db.keys({ ...rowsOf("m"), reverse: true, limit: 1 }).all();
  return Math.max(newest === undefined ? 0 : positionOfKey(newest), Number((await db.get(HEAD_KEY)) ?? 0));
}

function newEpoch(): string {
  return randomBytes(6).toString("base64url");
}
