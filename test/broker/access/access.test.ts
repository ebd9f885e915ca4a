import type { IClientOptions } from "mqtt";
import { describe, expect, it } from "vitest";
import { TokenUndecidedError } from "../../../broker/access/errors.ts";
import {
  type BrokerUnderTest,
  closed,
  granted,
  inboxOf,
  NORTH,
  ROOT,
  readToken,
  SECRET,
  startTestBroker,
  topic,
} from "../broker-under-test.ts";
import { idPacket, publishPacket, rawSession, TYPE } from "../raw-client.ts";

async function connackOf(test: BrokerUnderTest, options: IClientOptions): Promise<number> {
  try {
    await test.client(options);
    return 0;
  } catch (error) {
    if (error instanceof Error && "code" in error && typeof error.code === "number") return error.code;
    throw error;
  }
}

describe("the broker, at CONNECT,", () => {
  it.each([
    ["accepts a device with its secret", { username: "north", password: SECRET }, 0],
    ["accepts a processing service with its secret", { username: "stacker", password: SECRET }, 0],
    ["refuses a user name without a password", { username: "north" }, 5],
    ["refuses a client without credentials", {}, 5],
    ["refuses a device with a wrong secret", { username: "north", password: `${SECRET}x` }, 4],
    ["refuses an unknown device", { username: "west", password: SECRET }, 4],
    ["refuses an invalid token", { username: "alice", password: "forged.by.mallory" }, 4],
    ["refuses a client id with direction marks", { ...NORTH, clientId: "a\u202eb" }, 2],
    ["refuses a client id of 129 characters", { ...NORTH, clientId: "a".repeat(129) }, 2],
    ["accepts a client id of 128 characters", { ...NORTH, clientId: "a".repeat(128) }, 0],
    ["accepts an empty client id with a clean session", { ...NORTH, clientId: "" }, 0],
    [
      "accepts a long client id over MQTT 3.1",
      { ...NORTH, clientId: "a".repeat(60), protocolId: "MQIsdp", protocolVersion: 3 },
      0,
    ],
  ] satisfies [string, IClientOptions, number][])("%s", async (_, options, code) => {
    expect(await connackOf(await startTestBroker(), options)).toBe(code);
  });

  it("accepts a token with any user name", async () => {
    const test = await startTestBroker();
    expect(await connackOf(test, { username: "anyone", password: test.token(["dashboard:read"]) })).toBe(0);
    expect(test.broker.clients()).toMatchObject([{ identity: "user:alice", transport: "tcp", address: "127.0.0.1" }]);
  });

  it("passes the secret of an integration on, as a token with any user name", async () => {
    const asked: string[] = [];
    const verifyToken = (secret: string) => {
      asked.push(secret);
      return { ...readToken(test.token(["dashboard:read"])), userId: "home-assistant", expiresAt: undefined };
    };
    const test = await startTestBroker({ verifyToken });
    await test.client({ username: "ha", password: "skylapse_secret" });
    expect(asked).toEqual(["skylapse_secret"]);
    expect(test.broker.clients()).toMatchObject([{ identity: "user:home-assistant" }]);
  });

  it("accepts the password of an account only when the operator allows it", async () => {
    const alice = { username: "alice", password: "correct horse" };
    expect(await connackOf(await startTestBroker(), alice)).toBe(4);
    const asked: object[] = [];
    const test = await startTestBroker({
      verifyPassword: async (login) => {
        asked.push(login);
        if (login.userId === "busy") throw new TokenUndecidedError("64 logins are waiting already");
        const isRight = login.password === alice.password;
        return isRight ? { ...readToken(test.token(["dashboard:read"])), expiresAt: undefined } : undefined;
      },
    });
    expect(await connackOf(test, alice)).toBe(0);
    expect(asked).toEqual([{ userId: "alice", password: "correct horse", address: "127.0.0.1" }]);
    expect(await connackOf(test, { ...alice, password: "wrong horse" })).toBe(4);
    expect(await connackOf(test, { ...alice, username: "busy" })).toBe(3);
    expect(await connackOf(test, NORTH)).toBe(0);
    expect(asked).toHaveLength(3);
  });

  it("logs why a client was refused, without its secret", async () => {
    const test = await startTestBroker();
    await connackOf(test, { username: "north", password: "not-the-secret-of-north-at-all", clientId: "cam-1" });
    expect(await test.logged("client refused")).toMatchObject({
      clientId: "cam-1",
      username: "north",
      address: "127.0.0.1",
      why: "unknown device or wrong secret",
    });
    expect(JSON.stringify(test.log)).not.toContain("not-the-secret");
    expect(test.broker.stats().refusedClients).toBe(1);
  });

  it("disconnects a client when its token expires", async () => {
    // The token's lifetime begins when the token is verified. On a slow machine, a lifetime that begins earlier could
    // end before the CONNECT.
    const verifyToken = (token: string) => ({ ...readToken(token), expiresAt: Date.now() + 1000 });
    const test = await startTestBroker({ verifyToken });
    const alice = await test.client({ password: test.token(["dashboard:read"]), username: "alice" });
    await closed(alice);
    expect(test.log.some(({ msg }) => msg === "client token expired")).toBe(true);
  });

  it("disconnects a device whose registration is removed or whose secret is replaced", async () => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    const south = await test.client({ username: "south", password: SECRET });
    const secret = (await test.devices.rotate("north", {})) ?? "";
    await closed(north);
    expect(await connackOf(test, NORTH)).toBe(4);
    expect(await connackOf(test, { username: "north", password: secret })).toBe(0);
    expect(south.connected).toBe(true);
    await test.devices.remove("south");
    await closed(south);
  });

  it("disconnects the clients that the caller selects", async () => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    expect(test.broker.disconnect(({ identity }) => identity === "device:north")).toBe(1);
    await closed(north);
  });
});

describe("the broker, at PUBLISH,", () => {
  it.each([
    ["an event of the camera itself", topic("cameras/north/events/capture.completed")],
    ["a reply of the camera itself", topic("cameras/north/replies/capture.now")],
  ])("accepts %s", async (_, name) => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    await north.publishAsync(name, "x", { qos: 1 });
    expect(test.ingest.accepted).toMatchObject([{ identity: "device:north", topic: name, qos: 1, retain: false }]);
  });

  it.each([
    ["another camera's event", topic("cameras/south/events/capture.completed")],
    ["its own command", topic("cameras/north/commands/capture.now")],
    ["its own presence", topic("cameras/north/state/presence")],
    ["a service's job", topic("processing/stacker/jobs/one")],
    ["the system's state", topic("system/status")],
    ["anything outside the root", "house/light"],
    ["the broker's own topics", "$SYS/x/new/clients"],
    ["the root itself", ROOT],
    ["an empty level", topic("cameras/north//events")],
    ["a name with a newline", topic("cameras/north/extra/a\nb")],
    ["a name with U+202E", topic("cameras/north/extra/a\u202eb")],
  ])("acknowledges and discards a camera's publication to %s", async (_, name) => {
    const test = await startTestBroker();
    const admin = await test.client({ username: "a", password: test.token(["admin"]) });
    const inbox = inboxOf(admin);
    await admin.subscribeAsync("#", { qos: 1 });
    const north = await test.client(NORTH);
    for (const qos of [0, 1, 2] as const) await north.publishAsync(name, "x", { qos, retain: true });
    // A refused publication does not block the next publication.
    const own = topic("cameras/north/about");
    await north.publishAsync(own, "behind", { qos: 1 });
    await inbox.has(1);
    expect(inbox.messages).toMatchObject([{ topic: own, payload: "behind" }]);
    expect(test.ingest.accepted).toMatchObject([{ topic: own }]);
    expect(test.broker.stats()).toMatchObject({ refusedPublishes: 3, retainedMessages: 0 });
    expect(await test.logged("publication refused")).toMatchObject({ identity: "device:north", topic: name });
  });

  it("reports refused publications once a minute to the log and to listeners", async () => {
    const test = await startTestBroker();
    const reported: unknown[] = [];
    test.broker.onPublicationRefused((refused) => reported.push(refused));
    const north = await test.client(NORTH);
    for (let n = 0; n < 100; n++) await north.publishAsync(topic(`cameras/south/state/s${n}`), "x", { qos: 1 });
    await north.publishAsync(topic("cameras/north//events"), "x", { qos: 1 });
    expect(reported).toMatchObject([
      { identity: "device:north", reason: "not_allowed", times: 1 },
      { identity: "device:north", reason: "bad_topic", times: 1 },
    ]);
    expect(test.log.filter(({ msg }) => msg.startsWith("publication refused"))).toHaveLength(2);
    await test.broker.stop();
    expect(reported.at(-1)).toMatchObject({
      reason: "not_allowed",
      topic: topic("cameras/south/state/s99"),
      times: 99,
    });
  });

  it("completes the handshake of a refused QoS 2 publication and releases its message id", async () => {
    const test = await startTestBroker();
    const north = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH });
    for (let turn = 0; turn < 2; turn++) {
      north.send(publishPacket({ topic: topic("cameras/south/about"), payload: "x", qos: 2, id: 7 }));
      expect((await north.next(TYPE.pubrec)).readUInt16BE(0)).toBe(7);
      north.send(idPacket(TYPE.pubrel, 7));
      expect((await north.next(TYPE.pubcomp)).readUInt16BE(0)).toBe(7);
    }
    expect(test.broker.stats().refusedPublishes).toBe(2);
    expect(test.ingest.accepted).toEqual([]);
  });

  it("acknowledges a publication that ingest refuses, but not a publication that could not be stored", async () => {
    const test = await startTestBroker();
    const refusal = Object.assign(new Error("no picture"), { permanent: true, reason: "bad_picture" });
    test.ingest.answer = ({ payload }) =>
      String(payload) === "good" ? Promise.resolve({ position: 1, forward: true }) : Promise.reject(refusal);
    const admin = await test.client({ username: "a", password: test.token(["admin"]) });
    const inbox = inboxOf(admin);
    await admin.subscribeAsync("#", { qos: 1 });
    const north = await test.client(NORTH);
    for (const qos of [0, 1, 2] as const) await north.publishAsync(topic("cameras/north/previews/p"), "bad", { qos });
    await north.publishAsync(topic("cameras/north/previews/p"), "good", { qos: 1 });
    await inbox.has(1);
    expect(inbox.messages).toMatchObject([{ payload: "good" }]);
    test.ingest.answer = () => Promise.reject(new Error("the disk is full"));
    const gone = closed(north);
    north.publish(topic("cameras/north/previews/p"), "bad", { qos: 1 });
    await gone;
    expect(test.broker.stats()).toMatchObject({ refusedPublishes: 3, notAccepted: 1 });
  });

  it("accepts a command only from a user with the permission", async () => {
    const test = await startTestBroker();
    const command = topic("cameras/north/commands/capture.now");
    const operator = await test.client({ password: test.token(["camera:control"]), username: "a" });
    await operator.publishAsync(command, "{}", { qos: 1 });
    const viewer = await test.client({ password: test.token(["dashboard:read"]), username: "b" });
    await viewer.publishAsync(command, "{}", { qos: 1 });
    expect(test.ingest.accepted).toHaveLength(1);
  });

  it("lets an administrator publish outside the root, and bypasses ingest", async () => {
    const test = await startTestBroker();
    const admin = await test.client({ password: test.token(["admin"]), username: "admin" });
    const inbox = inboxOf(admin);
    expect(granted(await admin.subscribeAsync("/house/#", { qos: 1 }))).toEqual([1]);
    await admin.publishAsync("/house/light", "on", { qos: 1 });
    await inbox.has(1);
    expect(test.ingest.accepted).toEqual([]);
  });

  it.each([
    ["the link of another camera", topic("cameras/south/link")],
    ["its own command", topic("cameras/north/commands/reboot")],
    ["the broker's own topics", "$SYS/x/new/clients"],
    ["17 levels", topic(`cameras/north/${"a/".repeat(13)}a`)],
    ["a topic with a wildcard", topic("cameras/north/+")],
  ])("drops a will to %s, logs it, and accepts its client", async (_, name) => {
    const test = await startTestBroker();
    const refused: string[] = [];
    test.broker.onRefused(({ action, who, target }) => refused.push(`${who} ${action} ${target}`));
    const watcher = await test.client({ username: "w", password: test.token(["admin"]) });
    const inbox = inboxOf(watcher);
    await watcher.subscribeAsync("#", { qos: 1 });
    const will = { topic: name, payload: Buffer.from("gone"), qos: 1 as const, retain: true };
    const north = await test.client({ ...NORTH, will });
    expect(await test.logged("will dropped")).toMatchObject({ identity: "device:north", topic: name });
    expect(refused).toEqual([`device:north publish ${name}`]);
    north.stream.destroy();
    await expect.poll(() => test.broker.clients().length).toBe(1);
    await watcher.publishAsync("marker", "", { qos: 1 });
    expect((await inbox.has(1)).map(({ topic }) => topic)).toEqual(["marker"]);
    expect(test.ingest.accepted).toEqual([]);
  });

  it("logs the dropped wills of an identity once a minute", async () => {
    const test = await startTestBroker();
    const will = { topic: "homeassistant/status", payload: Buffer.from("offline"), qos: 0 as const, retain: false };
    for (let round = 0; round < 5; round++) await (await test.client({ ...NORTH, will })).endAsync();
    await test.client({ username: "south", password: SECRET, will });
    const lines = test.log.filter(({ msg }) => msg.startsWith("will dropped"));
    expect(lines.map(({ identity }) => identity)).toEqual(["device:north", "device:south"]);
  });

  it("publishes a will with the identity of its client", async () => {
    const test = await startTestBroker();
    const will = { topic: topic("cameras/north/link"), payload: Buffer.from("gone"), qos: 1 as const, retain: true };
    const north = await test.client({ ...NORTH, will });
    north.stream.destroy();
    await expect
      .poll(() => test.ingest.accepted)
      .toMatchObject([{ identity: "device:north", topic: will.topic, retain: true }]);
  });
});

describe("the broker, at SUBSCRIBE,", () => {
  it.each([
    ["grants a camera its own commands", "north", topic("cameras/north/commands/+"), 1],
    ["refuses a camera the commands of another camera", "north", topic("cameras/south/commands/+"), 128],
    ["refuses a camera its own events", "north", topic("cameras/north/#"), 128],
    ["refuses a camera all topics", "north", "#", 128],
    ["refuses a camera the commands of all cameras", "north", topic("cameras/+/commands/+"), 128],
    ["refuses a camera the broker's own topics", "north", "$SYS/#", 128],
    ["refuses a service its own jobs", "stacker", topic("processing/stacker/jobs/+"), 128],
  ])("%s", async (_, username, filter, code) => {
    const test = await startTestBroker();
    const client = await test.client({ username, password: SECRET });
    expect(await subackOf(client, filter)).toBe(code);
  });

  it.each([
    [["dashboard:read"], `${ROOT}/#`, 1],
    [["dashboard:read"], "#", 128],
    [["dashboard:read"], "+/+/cameras/#", 128],
    [["dashboard:read"], "$SYS/#", 128],
    [["dashboard:read"], "__proto__", 128],
    [["camera:north:read"], topic("cameras/north/#"), 1],
    [["camera:north:read"], topic("cameras/+/events/+"), 128],
    [["alerts:read"], topic("cameras/+/alerts/#"), 1],
    [["alerts:read"], topic("cameras/+/+/+"), 128],
    [["admin"], "#", 1],
    [["admin"], "$SYS/#", 1],
    [["admin"], "__proto__", 1],
    [[], topic("cameras/north/link"), 128],
  ])("answers permissions %j and the filter %s with %i", async (permissions, filter, code) => {
    const test = await startTestBroker();
    const client = await test.client({ username: "u", password: test.token(permissions) });
    expect(await subackOf(client, filter)).toBe(code);
  });

  it("delivers a command only to its camera, whatever filters other clients have", async () => {
    const test = await startTestBroker();
    const viewer = await test.client({ username: "u", password: test.token(["dashboard:read", "camera:control"]) });
    const seen = inboxOf(viewer);
    await viewer.subscribeAsync(`${ROOT}/#`, { qos: 1 });
    const north = await test.client(NORTH);
    const inbox = inboxOf(north);
    await north.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await viewer.publishAsync(topic("cameras/north/commands/reboot"), "{}", { qos: 1 });
    await inbox.has(1);
    await north.publishAsync(topic("cameras/north/about"), "last", { qos: 1 });
    await seen.has(1);
    expect(seen.messages.map(({ payload }) => payload)).toEqual(["last"]);
  });

  it("does not deliver a retained message that the client may not read", async () => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    for (const state of ["power", "storage"]) {
      await north.publishAsync(topic(`cameras/north/state/${state}`), state, { qos: 1, retain: true });
    }
    await north.publishAsync(topic("cameras/north/alerts/cold"), "cold", { qos: 1, retain: true });
    const watcher = await test.client({ username: "u", password: test.token(["alerts:read"]) });
    const inbox = inboxOf(watcher);
    await watcher
      .subscribeAsync([topic("cameras/north/alerts/#"), topic("cameras/north/#")], { qos: 1 })
      .catch(() => []);
    expect(await inbox.has(1)).toMatchObject([{ payload: "cold", retain: true }]);
  });

  it("does not store a refused filter with the session", async () => {
    const test = await startTestBroker();
    const options = { username: "u", password: test.token(["alerts:read"]), clientId: "watcher", clean: false };
    const first = await test.client(options);
    const filters = [topic("cameras/+/alerts/#"), topic("cameras/#")];
    await first.subscribeAsync(filters, { qos: 1 }).catch(() => []);
    await first.endAsync();
    const north = await test.client(NORTH);
    await north.publishAsync(topic("cameras/north/about"), "secret", { qos: 1 });
    await north.publishAsync(topic("cameras/north/alerts/cold"), "cold", { qos: 1 });
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(1);
    const { inbox } = await test.join(options);
    expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["cold"]);
  });

  it("removes a stored filter that is no longer permitted", async () => {
    const test = await startTestBroker();
    const watcher = (permissions: string[]) => ({
      username: "u",
      password: test.token(permissions),
      clientId: "watcher",
      clean: false,
    });
    const first = await test.client(watcher(["dashboard:read"]));
    await first.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await first.endAsync();
    const second = await test.client(watcher(["alerts:read"]));
    await second.endAsync();
    const north = await test.client(NORTH);
    await north.publishAsync(topic("cameras/north/about"), "secret", { qos: 1 });
    expect(test.broker.stats().offlineMessages).toBe(0);
  });
});

async function subackOf(client: Awaited<ReturnType<BrokerUnderTest["client"]>>, filter: string): Promise<number> {
  const suback = new Promise<number>((resolve) => {
    client.on("packetreceive", (packet) => {
      if (packet.cmd === "suback") resolve(Number(packet.granted[0]));
    });
  });
  client.subscribe(filter, { qos: 1 }, () => undefined);
  return suback;
}
