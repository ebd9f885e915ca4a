import type { IClientOptions } from "mqtt";
import { describe, expect, it } from "vitest";
import { type BrokerUnderTest, closed, NORTH, SECRET, startTestBroker, topic } from "../broker-under-test.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const SOUTH = { username: "south", password: SECRET };
const STACKER = { username: "stacker", password: SECRET };

function userOf(test: BrokerUnderTest, userId: string, permissions: readonly string[] = []) {
  return { username: userId, password: test.token(permissions, 60_000, { userId }) };
}

async function connackOf(test: BrokerUnderTest, options: IClientOptions): Promise<number> {
  return test.client(options).then(
    () => 0,
    (error: { code: number }) => error.code,
  );
}

describe("a reserved client id", () => {
  it.each<[string, string, (test: BrokerUnderTest) => IClientOptions]>([
    ["a camera's id to a token without permissions", "camera-north", (test) => userOf(test, "mallory")],
    [
      "a camera's id to a token with its permission",
      "camera-north",
      (test) => userOf(test, "mallory", ["device:north"]),
    ],
    ["a camera's id to an administrator", "camera-north", (test) => userOf(test, "root", ["admin"])],
    ["a camera's id to another camera", "camera-north", () => SOUTH],
    ["the id of a camera that is not registered yet", "camera-east", () => NORTH],
    ["a service's id to a camera", "service-stacker", () => NORTH],
    ["a service's id to a camera of the same name", "service-north", () => NORTH],
    ["a camera's id to a service of the same name", "camera-stacker", () => STACKER],
  ])("is refused: %s", async (_, clientId, thief) => {
    const test = await startTestBroker();
    expect(await connackOf(test, { ...thief(test), clientId, clean: false })).toBe(2);
    expect(await connackOf(test, { ...thief(test), clientId })).toBe(2);
    expect((await test.logged(`the client id ${clientId} is reserved for`)).clientId).toBe(clientId);
    expect(test.broker.stats().sessions).toBe(0);
  });

  it.each<[string, IClientOptions]>([
    ["camera-north", NORTH],
    ["service-stacker", STACKER],
  ])("%s belongs to its device", async (clientId, owner) => {
    const test = await startTestBroker();
    const first = await test.client({ ...owner, clientId, clean: false });
    expect(await connackOf(test, { ...userOf(test, "mallory"), clientId })).toBe(2);
    expect(first.connected).toBe(true);
    await test.client({ ...owner, clientId });
    await closed(first);
  });

  it.each(["camera-", "camera-North", "camera--x", "cameras-north", "camera", "service-a/b"])(
    "does not have the form of %s, which any user may use",
    async (clientId) => {
      const test = await startTestBroker();
      expect(await connackOf(test, { ...userOf(test, "mallory"), clientId })).toBe(0);
    },
  );
});

describe("a client id of two identities", () => {
  const archive = { clientId: "archive", clean: false };

  it("has two sessions, and each identity keeps its own connection and queue", async () => {
    const test = await startTestBroker();
    const alice = await test.client({ ...userOf(test, "alice", ["camera:read"]), ...archive });
    await alice.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const bob = await test.client({ ...userOf(test, "bob", ["camera:read"]), ...archive });
    expect(alice.connected).toBe(true);
    expect(test.broker.stats().sessions).toBe(2);
    await alice.endAsync();
    await (await test.client(NORTH)).publishAsync(EVENT, "for alice", { qos: 1 });
    await bob.endAsync();
    const bobs = await test.join({ ...userOf(test, "bob", ["camera:read"]), ...archive });
    const alices = await test.join({ ...userOf(test, "alice", ["camera:read"]), ...archive });
    expect((await alices.inbox.has(1)).map(({ payload }) => payload)).toEqual(["for alice"]);
    expect(bobs.inbox.messages).toEqual([]);
  });

  it("keeps one identity's session when the other identity connects with a clean session", async () => {
    const test = await startTestBroker();
    const alice = userOf(test, "alice", ["camera:read"]);
    const first = await test.client({ ...alice, ...archive });
    await first.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await first.endAsync();
    await (await test.client({ ...userOf(test, "bob"), clientId: "archive", clean: true })).endAsync();
    await (await test.client(NORTH)).publishAsync(EVENT, "still there", { qos: 1 });
    const { inbox } = await test.join({ ...alice, ...archive });
    expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["still there"]);
  });

  it("is taken over only by a newer connection of the same identity", async () => {
    const test = await startTestBroker();
    const takenOver: object[] = [];
    test.broker.onTakeOver((takeOver) => takenOver.push(takeOver));
    const alice = await test.client({ ...userOf(test, "alice"), clientId: "tablet" });
    const bob = await test.client({ ...userOf(test, "bob"), clientId: "tablet" });
    await test.client({ ...userOf(test, "alice"), clientId: "tablet" });
    await closed(alice);
    expect(bob.connected).toBe(true);
    expect(takenOver).toEqual([{ clientId: "tablet", identity: "user:alice" }]);
  });

  it("is logged as the client sent it", async () => {
    const test = await startTestBroker();
    await test.client({ ...userOf(test, "alice"), clientId: "Küche 1 📷" });
    expect(test.broker.clients()).toMatchObject([{ clientId: "Küche 1 📷", identity: "user:alice" }]);
    expect(await test.logged("client connected")).toMatchObject({ clientId: "Küche 1 📷" });
  });
});

describe("MAX_MQTT_SESSIONS_PER_USER", () => {
  it("limits the sessions of one identity, and not the sessions of others", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SESSIONS_PER_USER: "3" } });
    const greedy = userOf(test, "mallory");
    const attempts = Array.from({ length: 10 }, (_, index) =>
      connackOf(test, { ...greedy, clientId: `grab-${index}`, clean: false }),
    );
    expect((await Promise.all(attempts)).sort()).toEqual([0, 0, 0, 3, 3, 3, 3, 3, 3, 3]);
    expect((await test.logged("MAX_MQTT_SESSIONS_PER_USER")).why).toContain("user:mallory");
    expect(test.broker.stats().sessions).toBe(3);
    expect(await connackOf(test, { ...userOf(test, "alice"), clientId: "archive", clean: false })).toBe(0);
    // The limit applies only to new persistent sessions.
    expect(await connackOf(test, { ...greedy, clientId: "clean" })).toBe(0);
    const kept = test.broker.clients().find(({ clientId }) => clientId.startsWith("grab-"))?.clientId ?? "";
    expect(await connackOf(test, { ...greedy, clientId: kept, clean: false })).toBe(0);
  });

  it("does not count ended sessions", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SESSIONS_PER_USER: "1" } });
    const alice = userOf(test, "alice");
    await (await test.client({ ...alice, clientId: "one", clean: false })).endAsync();
    expect(await connackOf(test, { ...alice, clientId: "two", clean: false })).toBe(3);
    await (await test.client({ ...alice, clientId: "one", clean: true })).endAsync();
    expect(await connackOf(test, { ...alice, clientId: "two", clean: false })).toBe(0);
  });
});
