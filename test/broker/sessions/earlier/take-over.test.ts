import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { expect, it } from "vitest";
import type { Damage } from "../../../../platform/level/damage.ts";
import { LONG } from "../../../support/long-form.ts";
import { NORTH, startTestBroker, topic } from "../../broker-under-test.ts";
import { idPacket, publishPacket, rawSession, TYPE } from "../../raw-client.ts";
import { EVENT, earlierData, earlierEnv, expectEverything, nameOf, rejoin, takeOverInChild } from "./earlier-data.ts";
import type { TakeOverRequest } from "./take-over-child.ts";

/** Before the sessions are written, among the undelivered publications, and after the end. */
const SOME_POINTS: TakeOverRequest["killAt"][] = [
  { step: "put", count: 3, when: "before" },
  { step: "append", count: 15, when: "after" },
  { step: "end", count: 1, when: "after" },
];
const POINTS: TakeOverRequest["killAt"][] = [
  ...[1, 2, 3, 4, 5].flatMap((count) =>
    (["before", "after"] as const).map((when) => ({ step: "put" as const, count, when })),
  ),
  ...[1, 5, 13, 14, 16].map((count) => ({ step: "append" as const, count, when: "after" as const })),
  { step: "end", count: 1, when: "before" },
];

it("each session gets what it had in its queue, then what was accepted and not queued, in order", async () => {
  await expectEverything(await startTestBroker({ dataPath: earlierData(), env: earlierEnv }));
});

it("what was acknowledged is not sent again after a restart, and the earlier store is not read again", async () => {
  const dataPath = earlierData();
  const before = await startTestBroker({ dataPath, env: earlierEnv });
  const session = await rejoin(before, "alice", "archive");
  await session.until("u3");
  await expect.poll(() => session.packets.filter(({ cmd }) => cmd === "pubrel").length).toBe(6);
  await session.client.endAsync();
  expect(existsSync(join(dataPath, "mqtt"))).toBe(false);
  expect(existsSync(join(dataPath, "mqtt-before-one-log"))).toBe(true);
  await before.broker.stop();
  const after = await startTestBroker({ dataPath, env: earlierEnv });
  const again = await rejoin(after, "alice", "archive");
  await (await after.client(NORTH)).publishAsync(EVENT, JSON.stringify({ v: 1, id: "last" }), { qos: 2 });
  expect(await again.until("last")).toEqual(["last 2"]);
});

it("retained messages, wills, and message ids of incoming publications are taken over, and all is counted", async () => {
  const test = await startTestBroker({ dataPath: earlierData(), env: earlierEnv });
  const counts = { sessions: 8, queued: 13, undelivered: 3, commands: 1, retained: 7, wills: 1, incomingIds: 1 };
  expect(await test.logged("took over the MQTT sessions")).toMatchObject(counts);
  const admin = { username: "carol", password: test.token(["admin"], 60_000, { userId: "carol" }) };
  const { client, inbox } = await test.join(admin);
  await client.subscribeAsync(["garden/#", topic("cameras/north/state/+")], { qos: 1 });
  // With the presence of the camera.
  await inbox.has(4);
  await client.publishAsync("garden/end", "last", { qos: 1 });
  while (inbox.messages.at(-1)?.payload !== "last") await inbox.has(inbox.messages.length + 1);
  const retained = inbox.messages.filter(({ retain }) => retain).map(({ topic, payload }) => [topic, nameOf(payload)]);
  expect(retained.filter(([name]) => !name?.endsWith("presence")).sort()).toEqual([
    ["garden/lamp", "on"],
    [topic("cameras/north/state/battery"), "b2"],
    [topic("cameras/north/state/heater"), "h1"],
  ]);

  const writer = await rawSession(test.broker.ports.mqtt, { ...admin, clientId: "writer", clean: false });
  writer.send(publishPacket({ topic: EVENT, payload: JSON.stringify({ v: 1, id: "e7" }), qos: 2, id: 77, dup: true }));
  await writer.next(TYPE.pubrec);
  expect(test.ingest.accepted).toEqual([]);
  writer.send(idPacket(TYPE.pubrel, 77));
  await writer.next(TYPE.pubcomp);
});

it("a take-over that was killed at any point begins again, and loses and doubles nothing", async () => {
  const dataPath = earlierData();
  const points: TakeOverRequest["killAt"][] = LONG ? [...POINTS, ...SOME_POINTS] : SOME_POINTS;
  for (const killAt of points) {
    const report = await takeOverInChild(dataPath, killAt === undefined ? {} : { killAt });
    expect(report, `the process was not killed at ${JSON.stringify(killAt)}`).toEqual({ kind: "open" });
  }
  const test = await startTestBroker({ dataPath, env: earlierEnv });
  // The last process was killed when everything had been taken over.
  expect(test.log.some(({ msg }) => msg.startsWith("took over"))).toBe(false);
  expect(existsSync(join(dataPath, "mqtt"))).toBe(false);
  await expectEverything(test);
});

it("a full disk ends the start with the remedy, and the next start takes over everything", async () => {
  const dataPath = earlierData();
  const report = await takeOverInChild(dataPath, {}, 6_000);
  expect(report?.error).toMatch(/cannot be taken over: .*file size.* Nothing is lost: start again/s);
  await expectEverything(await startTestBroker({ dataPath, env: earlierEnv }));
});

it("a store that another process uses, or that is no store, ends the start with the remedy", async () => {
  const dataPath = earlierData();
  const path = join(dataPath, "mqtt");
  const db = new ClassicLevel(path);
  await db.open();
  expect((await takeOverInChild(dataPath, {}))?.error).toMatch(/mqtt is in use: .*Stop that process/);
  await db.close();
  renameSync(path, `${path}-away`);
  writeFileSync(path, "not a folder");
  expect((await takeOverInChild(dataPath, {}))?.error).toMatch(/the store of MQTT sessions in .*mqtt cannot be opened/);
  rmSync(path);
  renameSync(`${path}-away`, path);
  await expectEverything(await startTestBroker({ dataPath, env: earlierEnv }));
});

it("damaged rows are named and counted, and everything else is taken over", async () => {
  const dataPath = earlierData();
  const db = new ClassicLevel<string, Buffer>(join(dataPath, "mqtt"), { valueEncoding: "buffer" });
  const garbage = Buffer.from("garbage");
  const cutOff = async (key: string) => db.put(key, (await db.get(key))?.subarray(0, -1) ?? garbage);
  const [e4] = (await db.keys({ gte: "outgoing:user%3Abob%1Fslow:", lt: "outgoing:user%3Abob%1Fslow;" }).all()).slice(
    2,
  );
  await cutOff(e4 ?? "");
  await cutOff("retained:garden/lamp");
  await cutOff("will:user%3Acarol%1Fgoodbye");
  await cutOff(`subscriptions:user%3Aalice%1Farchive:${topic("cameras/north/events/#")}`);
  await db.put("session:user:dave\u001flate", garbage);
  await db.close();
  const damages: Damage[] = [];
  const test = await startTestBroker({ dataPath, env: earlierEnv, onDamage: (damage) => damages.push(damage) });
  expect(damages.map(({ store, missing }) => `${store}: ${missing}`)).toEqual([
    "mqtt: the sessions late (user:dave) are lost: their clients must subscribe again",
    `mqtt: lost: the filter ${topic("cameras/north/events/#")} of archive (user:alice), ` +
      "the retained message of garden/lamp, a queued message of slow (user:bob), the will of goodbye (user:carol)",
  ]);
  expect(damages.at(-1)?.found).toBe("4 unreadable rows");
  const slow = await rejoin(test, "bob", "slow");
  expect(await slow.until("u3")).toEqual(["e1 1", "e3 1", "e5 1", "e6 1", "e7 1", "u2 1", "u3 1"]);
});

it("flipped bytes are reported, and lose no message that the journal still holds", async () => {
  const dataPath = earlierData();
  const folder = join(dataPath, "mqtt");
  const log = join(folder, readdirSync(folder).find((name) => name.endsWith(".log")) ?? "");
  const bytes = readFileSync(log);
  // The copies of e7 in the queues come after the will.
  const at = bytes.indexOf("will:user%3Acarol") + 60;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(log, bytes);
  const damages: Damage[] = [];
  const test = await startTestBroker({ dataPath, env: earlierEnv, onDamage: (damage) => damages.push(damage) });
  expect(damages).toHaveLength(1);
  expect(damages[0]).toMatchObject({ store: "mqtt", found: expect.stringMatching(/unreadable records/) });
  expect(damages[0]?.missing).toMatch(/certainly .*goodbye \(user:carol\)/);
  const late = await rejoin(test, "dave", "late");
  expect(await late.until("u3")).toEqual(["e6 2", "e7 2", "u2 2", "u3 1"]);
});

it("what the earlier version has stored after a return to it is taken over as well", async () => {
  const dataPath = earlierData();
  const path = join(dataPath, "mqtt");
  await (await startTestBroker({ dataPath, env: earlierEnv })).broker.stop();
  cpSync(`${path}-before-one-log`, path, { recursive: true });
  const db = new ClassicLevel(path);
  await db.put("boot", String(Number(await db.get("boot")) + 1));
  await db.close();
  const test = await startTestBroker({ dataPath, env: earlierEnv });
  expect(await test.logged("took over the MQTT sessions")).toMatchObject({ sessions: 8, undelivered: 0 });
  expect(existsSync(`${path}-before-one-log-2`)).toBe(true);
  const late = await rejoin(test, "dave", "late");
  expect(await late.until("e7")).toEqual(["e6 2", "e7 2"]);
});
