import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { expect, it } from "vitest";
import { closed, NORTH, startTestBroker, temporaryFolder, topic } from "../broker-under-test.ts";

const EVENT = topic("cameras/north/events/capture.completed");

/** Sessions as the previous version stored them: by client id only, without token ids and times. */
async function olderSessions(sessions: Record<string, { identity: string; permissions: string[] }>): Promise<string> {
  const dataPath = temporaryFolder();
  mkdirSync(join(dataPath, "mqtt"));
  const db = new ClassicLevel<string, string>(join(dataPath, "mqtt"));
  for (const [clientId, owner] of Object.entries(sessions))
    await db.put(`session:${clientId}`, JSON.stringify({ ...owner, seenAt: Date.now() }));
  await db.close();
  return dataPath;
}

it("the broker discards another identity's session with a camera's client id when the camera connects", async () => {
  const dataPath = await olderSessions({ "camera-north": { identity: "user:mallory", permissions: [] } });
  const test = await startTestBroker({ dataPath });
  expect(test.broker.stats().sessions).toBe(1);
  const camera = await test.client({ ...NORTH, clientId: "camera-north" });
  await camera.publishAsync(EVENT, "x", { qos: 1 });
  expect(test.broker.stats().sessions).toBe(0);
  await camera.endAsync();
  await test.client({ ...NORTH, clientId: "camera-north", clean: false });
  expect(test.broker.stats().sessions).toBe(1);
});

it("the broker gives a session of the previous version only to the session's owner", async () => {
  const owner = { identity: "user:alice", permissions: ["camera:read"] };
  const dataPath = await olderSessions({ archive: owner });
  const test = await startTestBroker({ dataPath });
  const alice = { username: "alice", password: test.token(owner.permissions), clientId: "archive", clean: false };
  const subscribing = await test.client(alice);
  await subscribing.subscribeAsync(topic("cameras/#"), { qos: 1 });
  await subscribing.endAsync();
  expect(test.broker.stats().sessions).toBe(1);
  await test.client({ ...NORTH, clientId: "archive", clean: false });
  expect(test.broker.stats().sessions).toBe(2);
  await (await test.client(NORTH)).publishAsync(EVENT, "kept", { qos: 1 });
  const { inbox, client } = await test.join(alice);
  expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["kept"]);
  // A connection with a clean session ends the stored session. The next connection with this client id still replaces
  // the clean connection.
  await client.endAsync();
  const clean = await test.client({ ...alice, clean: true });
  await test.client(alice);
  await closed(clean);
});
