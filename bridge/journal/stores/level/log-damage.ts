import type { Loss } from "../../../../platform/level/open-store.ts";
import type { Database } from "../../../../platform/level/write-set.ts";
import { brokerKey, positionOfPrefix, rowsOf } from "./keys.ts";
import { readCopies, readRow, rowText, type VersionedRow } from "./row-copies.ts";

/** Neighbouring types of rows that hold no entries, states or sequence numbers. */
const OF_THE_LOG = [
  ["c", "d"],
  ["k", "m"],
  ["p", "q"],
  ["r", "s"],
  ["u", "y"],
] as const;

/** Whether the store has lost rows for MQTT sessions only, in this range. No key equals the end of such a range. */
export function isOfLog({ from, to }: Loss["ranges"][number]): boolean {
  return OF_THE_LOG.some(([gte, end]) => from >= gte && to <= end);
}

/** Whether rows of this type may be lost. */
export function concerns({ isBounded, ranges }: Loss, letter: string): boolean {
  const { gte, lt } = rowsOf(letter);
  return !isBounded || ranges.some(({ from, to }) => from < lt && to > gte);
}

/** The highest position of a lost row of publications; 0 if there is none. */
export function lostPublicationsUntil({ ranges }: Loss, head: number): number {
  const { gte, lt } = rowsOf("p");
  let until = 0;
  for (const { from, to } of ranges) {
    if (from >= lt || to <= gte) continue;
    until = Math.max(until, to >= lt ? head : Math.min(head, positionOfPrefix(to)));
  }
  return until;
}

/** Describes, for an operator, the data besides events that may be missing. */
export function lostOfLog(loss: Loss): string[] {
  const texts: string[] = [];
  if (concerns(loss, "p")) texts.push("messages of MQTT sessions may be missing: the log names the sessions");
  if (concerns(loss, "r"))
    texts.push("retained messages may be missing for MQTT clients until they are published again");
  if (concerns(loss, "k")) texts.push("commands that no camera has received yet may be missing");
  if (concerns(loss, "x")) texts.push("messages of QoS 2 whose senders repeat them may be recorded twice");
  return texts;
}

/**
 * Puts back rows of the broker that the store has lost, and removes rows whose removal it has lost.
 * @returns the names of these rows; `isComplete` is false if there may be more
 */
export async function restoreRows(db: Database, path: string): Promise<{ restored: string[]; isComplete: boolean }> {
  const { rows, unreadable, isMissing } = await readCopies(path);
  const keys = [...rows.keys()];
  const stored = await db.getMany(keys.map(brokerKey));
  const restored: string[] = [];
  const batch = db.batch();
  for (const [index, key] of keys.entries()) {
    const text = stored[index];
    const known: VersionedRow = text === undefined ? { version: -1, value: undefined } : readRow(text);
    const copy = rows.get(key);
    if (copy === undefined || copy.version <= known.version || copy.value === known.value) continue;
    if (copy.value === undefined) batch.del(brokerKey(key));
    else batch.put(brokerKey(key), rowText(copy.version, copy.value));
    restored.push(key);
  }
  await batch.write({ sync: true });
  return { restored, isComplete: unreadable === 0 && !isMissing };
}
