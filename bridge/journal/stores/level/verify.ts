import { reopenDatabase } from "../../../../platform/level/database.ts";
import { DEFAULT_JOURNAL_LIMITS } from "../../core/limits.ts";
import { StateTable } from "../../core/state-table.ts";
import { ChannelLogs } from "./channel-logs.ts";
import { findMissing } from "./continuity.ts";
import { META_KEY } from "./keys.ts";
import { loadStates } from "./state-rows.ts";

/**
 * Checks a whole journal without repairing it. No process may have it open.
 * @throws {Error} LevelDB cannot read the journal, or a row is damaged
 */
export async function verifyJournal(path: string) {
  const db = await reopenDatabase(path);
  try {
    const row = await db.get(META_KEY);
    if (row === undefined) throw new Error("it has no epoch: its first rows are missing");
    const channels = new ChannelLogs(JSON.parse(row), DEFAULT_JOURNAL_LIMITS.maxChannels);
    await channels.load(db);
    const states = new StateTable({ ...DEFAULT_JOURNAL_LIMITS, maxLoadedStateChars: Number.POSITIVE_INFINITY });
    await loadStates(db, states);
    return { epoch: channels.epoch, states: states.size, ...(await findMissing(db, channels.all())) };
  } finally {
    await db.close();
  }
}
