import { describe, expect, it } from "vitest";
import type { Delivery } from "../../platform/publications.ts";
import { closed, inboxOf, NORTH, SECRET, startTestBroker, topic } from "./broker-under-test.ts";
import { idPacket, rawSession, subscribePacket, TYPE } from "./raw-client.ts";

const COMMAND = topic("cameras/north/commands/capture.now");

function command(payload: string, qos: 0 | 1 | 2 = 1) {
  return { topic: COMMAND, payload: Buffer.from(payload), qos, retain: false };
}

describe("a publication of the backend", () => {
  it("reaches subscribers without ingest", async () => {
    const test = await startTestBroker();
    const north = await test.client(NORTH);
    const inbox = inboxOf(north);
    await north.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await test.broker.publish(command("{}"));
    expect(await inbox.has(1)).toMatchObject([{ topic: COMMAND, payload: "{}", qos: 1 }]);
    expect(test.ingest.accepted).toEqual([]);
  });

  it("is retained on topics that no client may write", async () => {
    const test = await startTestBroker();
    const presence = topic("cameras/north/state/presence");
    await test.broker.publish({ topic: presence, payload: Buffer.from("{}"), qos: 1, retain: true });
    const viewer = await test.client({ username: "v", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(viewer);
    await viewer.subscribeAsync(presence, { qos: 1 });
    expect(await inbox.has(1)).toMatchObject([{ retain: true }]);
  });

  it("fails when the broker has stopped", async () => {
    const test = await startTestBroker();
    await test.broker.stop();
    await expect(test.broker.publish(command("{}", 0))).rejects.toThrow("stopping");
  });
});

describe("a command", () => {
  it.each([
    ["a clean session", true],
    ["a persistent session", false],
  ])("is reported as delivered when the device acknowledges it, with %s", async (_, clean) => {
    const test = await startTestBroker();
    const deliveries: Delivery[] = [];
    test.broker.onDelivered((delivery) => deliveries.push(delivery));
    const session = { clientId: "north-1", username: "north", password: SECRET, clean };
    const north = await rawSession(test.broker.ports.mqtt, session);
    north.send(subscribePacket([[topic("cameras/north/commands/+"), 1]]));
    await north.next(TYPE.suback);
    await test.broker.publish(command("one"));
    await test.broker.publish(command("two"));
    const ids: number[] = [];
    for (let count = 0; count < 2; count++) ids.push((await north.next(TYPE.publish)).readUInt16BE(2 + COMMAND.length));
    expect(new Set(ids).size).toBe(2);
    expect(deliveries).toEqual([]);
    for (const id of ids.toReversed()) north.send(idPacket(TYPE.puback, id));
    await expect.poll(() => deliveries.length).toBe(2);
    expect(deliveries).toEqual(
      ["two", "one"].map((payload) => ({ identity: "device:north", topic: COMMAND, payload: Buffer.from(payload) })),
    );
    // A second PUBACK and a PUBACK with an unknown id report nothing.
    north.send(idPacket(TYPE.puback, ids[0] ?? 0));
    north.send(idPacket(TYPE.puback, 12_345));
    await test.broker.publish(command("three"));
    north.send(idPacket(TYPE.puback, (await north.next(TYPE.publish)).readUInt16BE(2 + COMMAND.length)));
    await expect.poll(() => deliveries.map(({ payload }) => payload.toString())).toEqual(["two", "one", "three"]);
  });

  it("is reported as delivered when a device with a persistent session reconnects and acknowledges the command", async () => {
    const test = await startTestBroker();
    const deliveries: Delivery[] = [];
    test.broker.onDelivered((delivery) => deliveries.push(delivery));
    const options = { ...NORTH, clientId: "north-1", clean: false };
    const north = await test.client(options);
    await north.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await north.endAsync();
    await test.broker.publish(command("while away"));
    const { inbox } = await test.join(options);
    await inbox.has(1);
    await expect.poll(() => deliveries).toMatchObject([{ identity: "device:north" }]);
  });

  it("is not reported to a removed listener", async () => {
    const test = await startTestBroker();
    const first: Delivery[] = [];
    const second: Delivery[] = [];
    const stop = test.broker.onDelivered((delivery) => first.push(delivery));
    test.broker.onDelivered((delivery) => second.push(delivery));
    stop();
    const north = await test.client(NORTH);
    await north.subscribeAsync(topic("cameras/north/commands/+"), { qos: 1 });
    await test.broker.publish(command("x"));
    await expect.poll(() => second.length).toBe(1);
    expect(first).toEqual([]);
  });
});

describe("connected clients", () => {
  it("are known by their identity", async () => {
    const test = await startTestBroker();
    expect(test.broker.connected("device:north")).toBe(false);
    const one = await test.client({ ...NORTH, clientId: "one" });
    const two = await test.client({ ...NORTH, clientId: "two" });
    expect(test.broker.connected("device:north")).toBe(true);
    expect(test.broker.stats().clients).toBe(2);
    await one.endAsync();
    await expect.poll(() => test.broker.stats().clients).toBe(1);
    expect(test.broker.connected("device:north")).toBe(true);
    two.stream.destroy();
    await expect.poll(() => test.broker.connected("device:north")).toBe(false);
  });

  it("are replaced by newer connections with the same client id, and the broker reports each take-over", async () => {
    const test = await startTestBroker();
    const takeOvers: unknown[] = [];
    test.broker.onTakeOver((takeOver) => takeOvers.push(takeOver));
    const old = await test.client({ ...NORTH, clientId: "camera" });
    const gone = closed(old);
    await test.client({ ...NORTH, clientId: "camera" });
    await gone;
    expect(takeOvers).toEqual([{ clientId: "camera", identity: "device:north" }]);
    await expect.poll(() => test.broker.stats()).toMatchObject({ clients: 1, connections: 1 });
    expect(test.broker.connected("device:north")).toBe(true);
    const third = await test.client({ ...NORTH, clientId: "camera" });
    expect(takeOvers).toHaveLength(2);
    await third.endAsync();
    await expect.poll(() => test.broker.connected("device:north")).toBe(false);
    await test.client({ ...NORTH, clientId: "camera" });
    expect(takeOvers).toHaveLength(2);
  });

  it("are replaced in order: the will of the old connection is published before the birth of the new connection", async () => {
    const test = await startTestBroker();
    const link = topic("cameras/north/link");
    const will = { topic: link, payload: Buffer.from("gone"), qos: 1 as const, retain: true };
    await test.client({ ...NORTH, clientId: "camera", will });
    const next = await test.client({ ...NORTH, clientId: "camera", will });
    await next.publishAsync(link, "here", { qos: 1, retain: true });
    expect(test.ingest.accepted.map(({ payload }) => payload.toString())).toEqual(["gone", "here"]);
  });
});
