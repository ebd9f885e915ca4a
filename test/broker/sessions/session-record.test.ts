import { expect, test } from "vitest";
import { readRecord } from "../../../broker/sessions/session-record.ts";
import { temporaryFolder } from "../broker-under-test.ts";
import { openSessions } from "./sessions-over-journal.ts";

const OWNER = { identity: "user:alice", permissions: ["admin"] };

async function rowsOf(log: Awaited<ReturnType<typeof openSessions>>["log"]): Promise<Record<string, unknown>> {
  const rows: Record<string, unknown> = {};
  for await (const [key, row] of log.rows.load("session:")) rows[key] = JSON.parse(row);
  return rows;
}

test("a session that uses nothing of MQTT 5 is written in the format of earlier versions, so that a roll back works", async () => {
  const { sessions, log, close } = await openSessions(temporaryFolder());
  const session = sessions.keep("a", OWNER);
  sessions.subscribe(session, "cameras/#", { qos: 1, noLocal: false, retainAsPublished: false, identifier: undefined });
  sessions.touch(session, true);
  await sessions.flush();
  const { "session:a": row } = await rowsOf(log);
  expect(row).toEqual({
    ...{ v: 1, ...OWNER, seenAt: session.seenAt, epoch: log.publications.epoch, sent: 0, open: [] },
    filters: [["cameras/#", 1, 0]],
  });
  await close();
});

test("the options of subscriptions and the expiry interval outlive a restart, in a second version of the format", async () => {
  const path = temporaryFolder();
  const first = await openSessions(path);
  const session = first.sessions.keep("a", OWNER, 60);
  first.sessions.subscribe(session, "a/#", { qos: 1, noLocal: true, retainAsPublished: false });
  first.sessions.subscribe(session, "a/+", { qos: 2, retainAsPublished: true, identifier: 268_435_455 });
  first.sessions.subscribe(session, "b", { qos: 0 });
  await first.sessions.flush();
  expect(await rowsOf(first.log)).toMatchObject({ "session:a": { v: 2, expiry: 60 } });
  await first.close();
  const second = await openSessions(path);
  const { cursor, expiry } = second.sessions.get("a") ?? {};
  expect(expiry).toBe(60);
  expect(Object.fromEntries(cursor?.filters ?? [])).toMatchObject({
    "a/#": { qos: 1, noLocal: true, retainAsPublished: false },
    "a/+": { qos: 2, noLocal: false, retainAsPublished: true, identifier: 268_435_455 },
    b: { qos: 0 },
  });
  expect(cursor?.record().filters).toEqual([
    ["a/#", 1, 0, 1],
    ["a/+", 2, 0, 2, 268_435_455],
    ["b", 0, 0],
  ]);
  await second.close();
});

test("a record of an unknown version is unreadable", () => {
  const record = { v: 1, ...OWNER, seenAt: 0, epoch: "e", sent: 0, open: [], filters: [["a", 1, 0]] };
  expect(readRecord(JSON.stringify(record))).toMatchObject(record);
  expect(readRecord(JSON.stringify({ ...record, v: 3 }))).toBeUndefined();
});
