import { reopenDatabase } from "../../../../platform/level/database.ts";
import { ChannelLogs } from "./channel-logs.ts";
import { findMissing, type MissingEntries } from "./continuity.ts";
import { META_KEY } from "./keys.ts";
import { DEFAULT_JOURNAL_LIMITS } from "./limits.ts";
import { StateTable } from "./state-table.ts";

export interface JournalReport {
  epoch: string;
  entries: number;
  /** The number of retained topics. */
  states: number;
  missing: readonly MissingEntries[];
}

/**
 * Reads a whole journal without repairing it. No process may have the journal open.
 * @throws {Error} LevelDB cannot read the journal, or a row is damaged
 */
export async function verifyJournal(path: string): Promise<JournalReport> {
  const db = await reopenDatabase(path);
  try {
    const row = await db.get(META_KEY);
    if (row === undefined) throw new Error("it has no epoch: its first rows are missing");
    const channels = new ChannelLogs(JSON.parse(row), DEFAULT_JOURNAL_LIMITS.maxChannels);
    await channels.load(db);
    // Loads all states, however large.
    const states = new StateTable({ ...DEFAULT_JOURNAL_LIMITS, maxLoadedStateChars: Number.POSITIVE_INFINITY });
    await states.load(db);
    return { epoch: channels.epoch, states: states.size, ...(await findMissing(db, channels.all())) };
  } finally {
    await db.close();
  }
}
