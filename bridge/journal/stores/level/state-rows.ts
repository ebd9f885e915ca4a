import type { Database, WriteSet } from "../../../../platform/level/write-set.ts";
import type { StateChanges, StateTable } from "../../core/state-table.ts";
import type { StateEntry } from "../../journal.ts";
import { rowsOf, stateKey } from "./keys.ts";

type StateHeader = [position: number, acceptedAt: number, camera: string | 0, channels: readonly string[]];

export function stateRow({ position, acceptedAt, camera, channels, body }: StateEntry): string {
  const header: StateHeader = [position, acceptedAt, camera ?? 0, channels];
  return `${JSON.stringify(header)}\n${body}`;
}

export function putStates(changes: StateChanges, set: WriteSet): void {
  for (const [topic, entry] of changes) {
    if (entry === undefined) set.del(stateKey(topic));
    else set.put(stateKey(topic), stateRow(entry));
  }
}

export async function loadStates(db: Database, states: StateTable): Promise<void> {
  const entries: StateEntry[] = [];
  for await (const [key, value] of db.iterator(rowsOf("s"))) {
    if (!states.fits(value)) continue;
    const end = value.indexOf("\n");
    const [position, acceptedAt, camera, channels]: StateHeader = JSON.parse(value.slice(0, end));
    const body = value.slice(end + 1);
    entries.push({ position, topic: key.slice(1), channels, camera: camera || undefined, body, acceptedAt });
  }
  states.load(entries);
}
