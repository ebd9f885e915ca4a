import { describe, expect, it } from "vitest";
import { startTestBroker, temporaryFolder, topic } from "../broker-under-test.ts";
import { connect5, NORTH5, tryConnect5, userOf } from "./client5.ts";

const SESSION = { clean: false, properties: { sessionExpiryInterval: 60 } };

describe("a session", () => {
  it("continues with its filters and messages without clean start, and ends with clean start [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.2-23] [MQTT-3.2.2-2] [MQTT-3.2.2-3] [MQTT-4.1.0-1]", async () => {
    const test = await startTestBroker();
    const reader = userOf(test, ["admin"]);
    const first = await tryConnect5(test, { ...reader, ...SESSION });
    expect(first.connack.sessionPresent).toBe(false);
    await first.client.subscribe("a/+", { qos: 2, identifier: 5 });
    first.client.socket.destroy();
    const writer = await connect5(test, userOf(test, ["admin"], "writer"));
    await writer.publish("a/b", "1", { properties: { contentType: "x/y" } });
    const again = await tryConnect5(test, { ...reader, ...SESSION });
    expect(again.connack.sessionPresent).toBe(true);
    const publish = await again.client.next("publish");
    expect(publish).toMatchObject({
      ...{ payload: Buffer.from("1"), dup: false },
      properties: { contentType: "x/y", subscriptionIdentifier: 5 },
    });
    // Not acknowledged: sent again with DUP and the same id [MQTT-4.4.0-1] [MQTT-3.3.1-1].
    again.client.socket.destroy();
    const third = await connect5(test, { ...reader, ...SESSION });
    expect(await third.next("publish")).toMatchObject({ dup: true, messageId: publish.messageId });
    const clean = await tryConnect5(test, { ...reader, clean: true });
    expect(clean.connack.sessionPresent).toBe(false);
    await writer.publish("a/b", "2");
    await clean.client.ping();
    expect(clean.client.packets).toEqual([]);
  });

  it("begins empty with clean start and a session expiry interval", async () => {
    const test = await startTestBroker();
    const reader = userOf(test, ["admin"]);
    const first = await connect5(test, { ...reader, ...SESSION });
    await first.subscribe("a");
    const again = await tryConnect5(test, { ...reader, ...SESSION, clean: true });
    expect(again.connack.sessionPresent).toBe(false);
    const third = await tryConnect5(test, { ...reader, ...SESSION });
    expect(third.connack.sessionPresent).toBe(true);
    await third.client.publish("a", "x");
    await third.client.ping();
    expect(third.client.packets).toEqual([]);
  });

  it("ends with its connection without a session expiry interval, also if it was resumed [MQTT-4.1.0-2]", async () => {
    const test = await startTestBroker();
    const reader = userOf(test, ["admin"]);
    const first = await connect5(test, { ...reader, ...SESSION });
    await first.subscribe("a");
    const resumed = await tryConnect5(test, { ...reader, clean: false });
    expect(resumed.connack.sessionPresent).toBe(true);
    resumed.client.send({ cmd: "disconnect", reasonCode: 0 });
    await resumed.client.ended;
    await expect.poll(() => test.broker.stats().sessions).toBe(0);
    expect((await tryConnect5(test, { ...reader, ...SESSION })).connack.sessionPresent).toBe(false);
  });

  it("has the expiry interval of its DISCONNECT, which cannot begin to keep a session", async () => {
    const test = await startTestBroker();
    const reader = userOf(test, ["admin"]);
    const first = await connect5(test, { ...reader, ...SESSION });
    first.send({ cmd: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
    await first.ended;
    await expect.poll(() => test.broker.stats().sessions).toBe(0);
    const clean = await connect5(test, reader);
    clean.send({ cmd: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 9 } });
    expect((await clean.next("disconnect")).reasonCode).toBe(0x82);
  });

  it("of MQTT 3.1.1 continues as one of MQTT 5, and the other way round", async () => {
    const test = await startTestBroker();
    const old = await test.join({ clientId: "both", clean: false, username: "x", password: test.token(["admin"]) });
    await old.client.subscribeAsync("a", { qos: 1 });
    const options = { ...userOf(test, ["admin"], "both"), ...SESSION };
    const { client, connack } = await tryConnect5(test, options);
    expect(connack.sessionPresent).toBe(true);
    await expect.poll(() => old.client.connected).toBe(false);
    await client.publish("a", "1");
    expect((await client.next("publish")).payload.toString()).toBe("1");
    const again = await test.join({ clientId: "both", clean: false, username: "x", password: test.token(["admin"]) });
    expect((await client.next("disconnect")).reasonCode).toBe(0x8e);
    expect(await again.inbox.has(1)).toMatchObject([{ payload: "1", dup: true }]);
  });

  it("survives a restart, with a QoS 2 exchange of each direction under way [MQTT-4.3.3-4] [MQTT-4.3.3-12]", async () => {
    const dataPath = temporaryFolder();
    const test = await startTestBroker({ dataPath });
    const options = { ...userOf(test, ["admin"]), ...SESSION };
    const reader = await connect5(test, options);
    await reader.subscribe("a", { qos: 2 });
    await reader.publish("a", "1", { qos: 2, messageId: 3 });
    const { messageId = 0 } = await reader.next("publish");
    reader.send({ cmd: "pubrec", messageId, reasonCode: 0 });
    await reader.next("pubrel");
    await test.broker.stop();
    const next = await startTestBroker({ dataPath });
    const again = await connect5(next, options);
    expect(await again.next("pubrel")).toMatchObject({ messageId });
    again.send({ cmd: "pubcomp", messageId, reasonCode: 0 });
    expect(await again.publish("a", "1", { qos: 2, messageId: 3 })).toBe(0);
    await again.ping();
    expect(next.ingest.accepted).toEqual([]);
    expect(again.packets).toEqual([]);
  });

  it("beyond MAX_MQTT_SESSIONS_PER_USER is refused with 0x97", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SESSIONS_PER_USER: "1" } });
    await connect5(test, { ...userOf(test, ["admin"], "one"), ...SESSION });
    const { connack } = await tryConnect5(test, { ...userOf(test, ["admin"], "two"), ...SESSION });
    expect(connack).toMatchObject({ reasonCode: 0x97 });
    expect(connack.properties?.reasonString).toContain("MAX_MQTT_SESSIONS_PER_USER");
  });
});

describe("DISCONNECT of the server", () => {
  it.each([0, 60])(
    "says 0x8e to a client whose session another connection takes over, with expiry %i [MQTT-3.1.4-3]",
    async (sessionExpiryInterval) => {
      const test = await startTestBroker();
      const options = { ...NORTH5, clean: false, properties: { sessionExpiryInterval } };
      const first = await connect5(test, options);
      const takeOvers: string[] = [];
      test.broker.onTakeOver(({ identity }) => takeOvers.push(identity));
      await connect5(test, options);
      expect((await first.next("disconnect")).reasonCode).toBe(0x8e);
      await first.ended;
      expect(takeOvers).toEqual(["device:north"]);
      expect(test.broker.connected("device:north")).toBe(true);
    },
  );

  it("says 0x8e to a client of MQTT 5 that connects again with MQTT 3.1.1", async () => {
    const test = await startTestBroker();
    const first = await connect5(test, NORTH5);
    const { username, password } = { username: "north", password: NORTH5.password?.toString() ?? "" };
    await test.client({ clientId: "camera-north", username, password });
    expect((await first.next("disconnect")).reasonCode).toBe(0x8e);
  });

  it("says 0x87 to a client whose token is revoked, and 0xa0 when the token expires", async () => {
    const test = await startTestBroker();
    const first = await connect5(test, userOf(test, ["admin"]));
    test.broker.disconnect(() => true);
    expect((await first.next("disconnect")).reasonCode).toBe(0x87);
    await first.ended;
    const password = Buffer.from(test.token(["admin"], 300));
    const second = await connect5(test, { ...userOf(test, ["admin"]), password });
    expect((await second.next("disconnect")).reasonCode).toBe(0xa0);
  });

  it("says 0x8b when the server stops, and the will stays in the store [MQTT-3.14.0-1]", async () => {
    const test = await startTestBroker();
    const will = { topic: topic("cameras/north/about"), payload: Buffer.from("gone"), qos: 1 as const };
    const north = await connect5(test, { ...NORTH5, will });
    const stopped = test.broker.stop();
    expect((await north.next("disconnect")).reasonCode).toBe(0x8b);
    await Promise.all([stopped, north.ended]);
    expect(test.ingest.accepted).toEqual([]);
  });
});
