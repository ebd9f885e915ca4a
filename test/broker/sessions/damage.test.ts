import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { expect, it } from "vitest";
import { NORTH, startTestBroker, temporaryFolder } from "../broker-under-test.ts";

const FILTER = "skylapse/v1/cameras/+/events/+";

/** Creates a disconnected session with queued messages, and stops the broker. @returns its data path */
async function leaveSession(messages: number): Promise<string> {
  const dataPath = temporaryFolder();
  const { broker, client, token } = await startTestBroker({ keepsLog: false, dataPath });
  const away = await client({
    clientId: "viewer-1",
    clean: false,
    username: "viewer",
    password: token(["camera:read"]),
  });
  await away.subscribeAsync(FILTER, { qos: 1 });
  await away.endAsync();
  const north = await client({ clientId: "camera-north", ...NORTH });
  for (let sent = 0; sent < messages; sent++)
    await north.publishAsync("skylapse/v1/cameras/north/events/capture.completed", `{"n":${sent}}`, { qos: 1 });
  await north.endAsync();
  await broker.stop();
  return dataPath;
}

function files(dataPath: string, pattern: RegExp): string[] {
  const folder = join(dataPath, "mqtt");
  return readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));
}

it.each([
  ["CURRENT", Buffer.alloc(0)],
  ["CURRENT", Buffer.from("MANIFEST-999999\n")],
  ["MANIFEST", Buffer.alloc(0)],
  ["MANIFEST", Buffer.alloc(64, 0x5a)],
])("the broker keeps its sessions when %s is damaged", async (name, content) => {
  const dataPath = await leaveSession(5);
  for (const file of files(dataPath, new RegExp(`^${name}`))) writeFileSync(file, content);
  const found: string[] = [];
  const {
    join: enter,
    token,
    logged,
  } = await startTestBroker({ keepsLog: false, dataPath, onDamage: ({ store }) => found.push(store) });
  await logged("MQTT session store damaged");
  expect(found).toEqual(["mqtt"]);
  const { inbox } = await enter({
    clientId: "viewer-1",
    clean: false,
    username: "viewer",
    password: token(["camera:read"]),
  });
  await inbox.has(5);
});

it("the broker names the sessions that may have lost messages when bytes of the database's log are flipped", async () => {
  const dataPath = await leaveSession(40);
  const [log = ""] = files(dataPath, /^\d+\.log$/);
  const bytes = readFileSync(log);
  const from = Math.floor(bytes.length / 2);
  for (let at = from; at < from + 8; at++) bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  writeFileSync(log, bytes);
  const found: string[] = [];
  const { logged } = await startTestBroker({
    keepsLog: false,
    dataPath,
    onDamage: ({ missing }) => found.push(missing),
  });
  const line = await logged("sessions or messages may be lost");
  expect(line.sessions).toEqual([expect.stringMatching(/viewer-1$/)]);
  expect(found.join()).toContain("viewer-1");
});

it("the broker discards and names a session without a record, so that no other client inherits it", async () => {
  const dataPath = await leaveSession(3);
  const db = new ClassicLevel<string, Buffer>(join(dataPath, "mqtt"), { valueEncoding: "buffer" });
  for (const key of await db.keys({ gte: "session:", lt: "session;" }).all()) await db.del(key);
  await db.close();
  const { join: enter, token, logged } = await startTestBroker({ keepsLog: false, dataPath });
  expect(await logged("MQTT sessions lost")).toMatchObject({ sessions: [expect.stringMatching(/^viewer-1 /)] });
  const { client, inbox } = await enter({
    clientId: "viewer-1",
    clean: false,
    username: "viewer",
    password: token(["camera:read"]),
  });
  await client.subscribeAsync("skylapse/v1/cameras/+/link", { qos: 1 });
  expect(inbox.messages).toEqual([]);
});

it("the broker removes a session with an unreadable record, and logs the session's name once", async () => {
  const dataPath = await leaveSession(3);
  const db = new ClassicLevel<string, Buffer>(join(dataPath, "mqtt"), { valueEncoding: "buffer" });
  for (const key of await db.keys({ gte: "session:", lt: "session;" }).all()) await db.put(key, Buffer.from("{"));
  await db.close();
  const first = await startTestBroker({ keepsLog: false, dataPath });
  const told = first.log.filter(({ level }) => Number(level) >= 50);
  expect(told).toMatchObject([{ sessions: [expect.stringMatching(/^viewer-1 /)] }]);
  await first.broker.stop();
  const second = await startTestBroker({ keepsLog: false, dataPath });
  expect(second.log.filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
