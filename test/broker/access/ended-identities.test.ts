import { describe, expect, it } from "vitest";
import type { Bearer } from "../../../platform/identity.ts";
import { type BrokerUnderTest, NORTH, SECRET, startTestBroker, temporaryFolder, topic } from "../broker-under-test.ts";

const EVENT = topic("cameras/south/events/capture.completed");
const SOUTH = { username: "south", password: SECRET };

function userOf(test: BrokerUnderTest, claims: { userId: string; tokenId?: string; issuedAt?: number }) {
  return { username: claims.userId, password: test.token(["camera:read"], 60_000, claims) };
}

/** Creates a persistent session whose client is disconnected. */
async function leaveSession(test: BrokerUnderTest, who: { username: string; password: string }, clientId: string) {
  const filter = who.username === "north" ? topic("cameras/north/commands/+") : topic("cameras/#");
  const client = await test.client({ ...who, clientId, clean: false });
  await client.subscribeAsync(filter, { qos: 1 });
  await client.endAsync();
}

async function publish(test: BrokerUnderTest): Promise<void> {
  const south = await test.client(SOUTH);
  await south.publishAsync(EVENT, "x", { qos: 1 });
  await south.endAsync();
  const command = { topic: topic("cameras/north/commands/capture.now"), payload: Buffer.from("{}") };
  await test.broker.publish({ ...command, qos: 1, retain: false });
}

const stored = ({ broker }: BrokerUnderTest) => {
  const { sessions, offlineMessages } = broker.stats();
  return { sessions, offlineMessages };
};

describe("the sessions and queues of a device", () => {
  it.each<[string, (test: BrokerUnderTest) => Promise<unknown>]>([
    ["is removed", ({ devices }) => devices.remove("north")],
    ["gets another secret", ({ devices }) => devices.rotate("north", {})],
  ])("are discarded when it %s while its client is disconnected", async (_, end) => {
    const test = await startTestBroker();
    await leaveSession(test, NORTH, "camera-north");
    await leaveSession(test, NORTH, "another");
    await leaveSession(test, userOf(test, { userId: "alice" }), "archive");
    await publish(test);
    await expect.poll(() => stored(test)).toEqual({ sessions: 3, offlineMessages: 3 });
    await end(test);
    await expect.poll(() => stored(test)).toEqual({ sessions: 1, offlineMessages: 1 });
  });

  it("are discarded while the device is connected", async () => {
    const test = await startTestBroker();
    const client = await test.client({ ...NORTH, clientId: "camera-north", clean: false });
    await client.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await test.devices.remove("north");
    await expect.poll(() => test.broker.clients().length).toBe(0);
    await expect.poll(() => stored(test)).toEqual({ sessions: 0, offlineMessages: 0 });
  });

  it("are kept when another device is removed", async () => {
    const test = await startTestBroker();
    await leaveSession(test, NORTH, "camera-north");
    await test.devices.remove("south");
    await test.devices.remove("stacker");
    await expect.poll(() => stored(test).sessions).toBe(1);
  });
});

describe("the sessions and queues of a user", () => {
  /** Revoked identities and token ids. */
  const revoked = new Set<string>();
  const isRevoked = ({ identity, tokenId = "" }: Bearer) => revoked.has(identity) || revoked.has(tokenId);

  it.each([
    ["all tokens of the user are revoked", "user:mallory"],
    ["the token of the last connection is revoked", "t1"],
  ])("are discarded when %s while its client is disconnected", async (_, what) => {
    revoked.clear();
    const test = await startTestBroker({ isRevoked });
    await leaveSession(test, userOf(test, { userId: "mallory", tokenId: "t1" }), "archive");
    await leaveSession(test, userOf(test, { userId: "alice", tokenId: "t2" }), "archive");
    await publish(test);
    await expect.poll(() => stored(test)).toEqual({ sessions: 2, offlineMessages: 2 });
    revoked.add(what);
    expect(await test.broker.discardEnded()).toBe(1);
    await expect.poll(() => stored(test)).toEqual({ sessions: 1, offlineMessages: 1 });
  });

  it("are discarded at the next start when the revocation happened while no server was running", async () => {
    revoked.clear();
    const dataPath = temporaryFolder();
    const before = await startTestBroker({ dataPath, isRevoked });
    await leaveSession(before, userOf(before, { userId: "mallory", tokenId: "t1" }), "archive");
    await before.broker.stop();
    revoked.add("t1");
    const after = await startTestBroker({ dataPath, isRevoked });
    await expect.poll(() => stored(after)).toEqual({ sessions: 0, offlineMessages: 0 });
  });

  it("are kept when the revoked token is older than the token of the last connection", async () => {
    revoked.clear();
    const test = await startTestBroker({ isRevoked });
    await leaveSession(test, userOf(test, { userId: "alice", tokenId: "t1" }), "archive");
    await leaveSession(test, userOf(test, { userId: "alice", tokenId: "t2" }), "archive");
    revoked.add("t1");
    expect(await test.broker.discardEnded()).toBe(0);
    expect(stored(test).sessions).toBe(1);
  });

  it("are not created by a client whose token is revoked while the client connects", async () => {
    revoked.clear();
    let asked = 0;
    const test = await startTestBroker({
      isRevoked: ({ identity }) => identity === "user:mallory" && ++asked > 0,
    });
    const options = { ...userOf(test, { userId: "mallory" }), clientId: "archive", clean: false };
    await expect(test.client(options)).rejects.toMatchObject({ code: 4 });
    expect(asked).toBeGreaterThan(0);
    await expect.poll(() => stored(test).sessions).toBe(0);
  });
});

describe("a will", () => {
  const will = { topic: topic("cameras/north/link"), payload: Buffer.from("gone"), qos: 1 as const, retain: true };

  it("of a removed device is not published, because no device is left to clear the retained message", async () => {
    const test = await startTestBroker();
    await test.client({ ...NORTH, will });
    await test.devices.remove("north");
    await expect.poll(() => test.broker.clients().length).toBe(0);
    const south = await test.client(SOUTH);
    await south.publishAsync(EVENT, "after it", { qos: 1 });
    expect(test.ingest.accepted.map(({ topic }) => topic)).toEqual([EVENT]);
  });

  it("of a device with a new secret is published, because the device is in fact offline", async () => {
    const test = await startTestBroker();
    await test.client({ ...NORTH, will });
    await test.devices.rotate("north", {});
    await expect.poll(() => test.ingest.accepted.map(({ topic }) => topic)).toEqual([will.topic]);
  });

  it.each<[string, string | undefined]>([
    ["is discarded when its user has been revoked", "t1"],
    ["is published otherwise", undefined],
  ])("of an earlier run %s", async (_, ended) => {
    const dataPath = temporaryFolder();
    const env = { MQTT_HEARTBEAT_MS: "100" };
    const before = await startTestBroker({ dataPath });
    const password = before.token(["admin"], 60_000, { userId: "mallory", tokenId: "t1" });
    await before.client({ username: "mallory", password, will });
    await before.client({ ...SOUTH, will: { ...will, topic: topic("cameras/south/link") } });
    await before.broker.stop();
    const after = await startTestBroker({
      dataPath,
      env,
      isRevoked: ({ tokenId }) => tokenId === ended && ended !== undefined,
    });
    const published = () => after.ingest.accepted.map(({ identity }) => identity).sort();
    const expected = ended === undefined ? ["device:south", "user:mallory"] : ["device:south"];
    await expect.poll(published).toEqual(expected);
    // The next scan for wills publishes nothing more.
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(published()).toEqual(expected);
  });
});
