import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { ChannelLogs, type MetaRow } from "./channel-logs.ts";
import { openDatabase, repairAndOpen } from "./database.ts";
import type { Waiting } from "./group.ts";
import { HEAD_KEY, META_KEY, positionOfKey, rowsOf } from "./keys.ts";
import type { JournalLimits } from "./limits.ts";
import { bootOfMachine, lossSince, readMark } from "./mark.ts";
import { Seen } from "./seen.ts";
import { StateTable } from "./state-table.ts";
import { messages } from "./trouble.ts";
import { type Database, WriteSet } from "./write-set.ts";

/** What of a journal is held in memory. */
export interface LoadedJournal {
  db: Database;
  channels: ChannelLogs;
  seen: Seen<Waiting>;
  states: StateTable;
  head: number;
}

/**
 * Opens a journal and reads what is held of it in memory. What is damaged is repaired, once. Where acknowledged
 * entries may be missing afterwards, the journal gets a new epoch: clients whose place is in the old one are told so
 * instead of being given other entries under positions they know.
 * @throws {JournalUnusableError}
 */
export async function loadJournal(path: string, limits: JournalLimits, logger: Logger): Promise<LoadedJournal> {
  const mark = await readMark(path);
  const boot = await bootOfMachine();
  const opened = await openDatabase(path, { repair: true });
  let { db, loss } = opened;
  let loaded: Omit<LoadedJournal, "db">;
  try {
    loaded = await load(db, limits);
  } catch (error) {
    await db.close();
    db = await repairAndOpen(path, error);
    loss = `it was damaged and had to be repaired (${messages(error)})`;
    loaded = await load(db, limits).catch(async (cause: unknown) => {
      await db.close();
      throw cause;
    });
  }
  const known = await db.get(META_KEY);
  loss ??= lossSince(mark, loaded.channels.epoch, loaded.head, boot);
  if (known === undefined || loss !== undefined) {
    // Positions never go back, whatever the epoch.
    loaded.head = Math.max(loaded.head, mark?.head ?? 0);
    const epoch = newEpoch();
    loaded.channels.setEpoch(epoch);
    const set = new WriteSet();
    loaded.channels.putMeta(set);
    set.put(HEAD_KEY, String(loaded.head));
    await set.write(db, true);
    if (loss !== undefined) logger.warn({ loss, epoch, head: loaded.head }, "journal may have lost entries");
  }
  return { db, ...loaded };
}

async function load(db: Database, limits: JournalLimits): Promise<Omit<LoadedJournal, "db">> {
  const row = await db.get(META_KEY);
  const meta: MetaRow = row === undefined ? { epoch: newEpoch(), forgottenFloor: 0 } : JSON.parse(row);
  const channels = new ChannelLogs(meta, limits.maxChannels);
  const seen = new Seen<Waiting>(limits);
  const states = new StateTable(limits.maxStateTopics);
  await channels.load(db);
  await seen.load(db);
  await states.load(db);
  return { channels, seen, states, head: await headOf(db) };
}

async function headOf(db: Database): Promise<number> {
  const [newest] = await db.keys({ ...rowsOf("m"), reverse: true, limit: 1 }).all();
  return Math.max(newest === undefined ? 0 : positionOfKey(newest), Number((await db.get(HEAD_KEY)) ?? 0));
}

function newEpoch(): string {
  return randomBytes(6).toString("base64url");
}
