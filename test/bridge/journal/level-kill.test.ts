import { afterEach, beforeEach, expect, test } from "vitest";
import type { ChildReport } from "./journal-child.ts";
import { startJournalProcess } from "./journal-process.ts";
import { createLevelPlace, type LevelPlace } from "./level-place.ts";
import { positions, range, readAll } from "./messages.ts";

let place: LevelPlace;
beforeEach(async () => {
  place = await createLevelPlace();
});
afterEach(() => place.dispose());

const SESSIONS = ["a", "b", "c"];
const ROUNDS = 5;
const IN_FLIGHT = 40;

type Accepted = Extract<ChildReport, { kind: "appended" }>;

test("every acknowledged entry survives kill -9 during appends, without gaps in the positions and without duplicates", async () => {
  const next = new Map(SESSIONS.map((session) => [session, 0]));
  const acknowledged = new Map<string, number | undefined>();

  for (const round of range(1, ROUNDS)) {
    const child = await startJournalProcess(place.path);
    const sent = new Map<number, { session: string; seq: number }[]>();
    // Like a device, sends the messages again that were not acknowledged before the kill.
    const open = new Map(SESSIONS.map((session) => [session, next.get(session) ?? 0]));
    const sendSome = () => {
      for (const session of SESSIONS) {
        const seq = open.get(session) ?? 0;
        open.set(session, seq + IN_FLIGHT);
        const messages = range(seq, seq + IN_FLIGHT - 1).map((each) => ({ session, seq: each }));
        sent.set(child.send(messages), messages);
      }
    };
    const accepted = () => child.reports.filter((report): report is Accepted => report.kind === "appended");
    const killAfter = 200 + round * 137;
    sendSome();
    let answered = 0;
    await child.until(() => {
      // Sends as many messages as were acknowledged, so that the kill always interrupts a write.
      const now = accepted().length;
      while (answered + SESSIONS.length * IN_FLIGHT <= now) {
        answered += SESSIONS.length * IN_FLIGHT;
        sendSome();
      }
      return now >= killAfter;
    });
    await child.kill();
    expect(child.reports.filter(({ kind }) => kind === "refused")).toEqual([]);
    for (const { id, index, position } of accepted()) {
      const message = sent.get(id)?.[index];
      if (message === undefined) throw new Error(`a report without a message: ${id} ${index}`);
      const name = `${message.session} ${message.seq}`;
      if (position !== undefined) expect(acknowledged.get(name)).toBeUndefined();
      acknowledged.set(name, position ?? acknowledged.get(name));
    }
    for (const session of SESSIONS) {
      let seq = next.get(session) ?? 0;
      while (acknowledged.has(`${session} ${seq}`)) seq++;
      next.set(session, seq);
    }
  }

  const journal = await place.open();
  const entries = await readAll(journal, ["dashboard"]);
  expect(positions(entries)).toEqual(range(1, journal.head));
  const found = entries.map(({ body }) => body.split('"')[3]?.split(" x")[0] ?? "");
  expect(new Set(found).size).toBe(found.length);
  for (const [name, position] of acknowledged) {
    expect(found).toContain(name);
    if (position !== undefined) expect(found[position - 1]).toBe(name);
  }
  // The log has all publications, in order, with their payloads.
  const published: string[] = [];
  const log = journal.mqtt?.publications;
  for (let after = 0; log !== undefined && after < log.head; ) {
    const { publications, next } = await log.read(after);
    for (const { payload } of publications) published.push(payload.toString());
    after = next;
  }
  expect(published).toEqual(found);
  expect(place.logged).toEqual([]);
});
