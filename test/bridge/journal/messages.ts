import type { Entry, Journal, JournalMessage, ReadRequest, ReplayRequest } from "../../../bridge/journal/journal.ts";

let count = 0;

/** A new message to append. By default it is an event of a camera. */
export function message(given: Partial<JournalMessage> & { camera?: string } = {}): JournalMessage {
  count++;
  const camera = given.camera ?? "north";
  return {
    topic: `skylapse/v1/cameras/${camera}/events/capture.completed`,
    channels: [`camera:${camera}`, "dashboard"],
    body: `"event":"capture.completed","data":{"n":${count},"name":"Großglockner 🏔"}`,
    state: undefined,
    origin: { sender: `device:${camera}`, id: undefined, session: undefined, seq: undefined },
    publish: undefined,
    ...given,
    camera,
  };
}

/** A retained message with a camera's state. */
export function state(camera: string, name: string, change: "set" | "clear" = "set"): JournalMessage {
  return { ...message({ camera }), topic: `skylapse/v1/cameras/${camera}/state/${name}`, state: change };
}

export function from(sender: string, session: string, seq: number): { origin: JournalMessage["origin"] } {
  return { origin: { sender, id: `${session}-${seq}`, session, seq } };
}

export function withId(sender: string, id: string): { origin: JournalMessage["origin"] } {
  return { origin: { sender, id, session: undefined, seq: undefined } };
}

/** Reads all entries of the channels above a position, page by page. */
export async function readAll(
  journal: Journal,
  channels: readonly string[],
  page: Partial<ReplayRequest> = {},
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let after = page.after ?? 0; ; ) {
    const read = await journal.replay({ channels, ...page, after });
    entries.push(...read.entries);
    if (read.done) return entries;
    if (read.next <= after) throw new Error(`a page after ${after} continues at ${read.next}`);
    after = read.next;
  }
}

/** Reads the whole journal, page by page. @returns the entries, and the positions reported as missing */
export async function readWhole(
  journal: Journal,
  page: Partial<ReadRequest>,
): Promise<{ entries: Entry[]; missing: number[] }> {
  const entries: Entry[] = [];
  const missing: number[] = [];
  for (let after = 0; after < journal.head; ) {
    const read = await journal.read({ ...page, after });
    entries.push(...read.entries);
    if (read.gap !== undefined) missing.push(...range(read.gap.after + 1, read.gap.before - 1));
    if (read.next <= after) throw new Error(`a page after ${after} continues at ${read.next}`);
    after = read.next;
  }
  return { entries, missing };
}

export function positions(entries: readonly { position: number }[]): number[] {
  return entries.map(({ position }) => position);
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
}
