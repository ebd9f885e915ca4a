import { describe, expect, it } from "vitest";
import { startTestBroker } from "../broker-under-test.ts";
import { type Client5, connect5, userOf } from "./client5.ts";

const FILTER = "$share/workers/a/#";

async function acknowledged(client: Client5): Promise<string> {
  const { payload, messageId = 0 } = await client.next("publish");
  client.send({ cmd: "puback", messageId, reasonCode: 0 });
  return payload.toString();
}

describe.each([0, 60])("a shared subscription with a session expiry interval of %i s", (sessionExpiryInterval) => {
  const start = async () => {
    const test = await startTestBroker();
    const user = (clientId: string) => ({ ...userOf(test, ["admin"], clientId), clean: false });
    const join = async (clientId: string) => {
      const client = await connect5(test, { ...user(clientId), properties: { sessionExpiryInterval } });
      await client.subscribe(FILTER, { qos: 1, identifier: 3 });
      return client;
    };
    const writer = await connect5(test, { ...user("writer"), clean: true });
    return { test, writer, join };
  };

  it("divides the messages between its members, with the identifier of each", async () => {
    const { writer, join } = await start();
    const [one, two] = [await join("one"), await join("two")];
    for (const payload of ["1", "2", "3", "4"])
      await writer.publish("a/b", payload, { properties: { contentType: "x" } });
    const first = await one.next("publish");
    expect(first.properties).toMatchObject({ subscriptionIdentifier: 3, contentType: "x" });
    const rest = [first.payload.toString(), await acknowledged(one), await acknowledged(two), await acknowledged(two)];
    expect(rest.sort()).toEqual(["1", "2", "3", "4"]);
  });

  it("gives what a member has not acknowledged to another one when the member disconnects", async () => {
    const { writer, join } = await start();
    const one = await join("one");
    await writer.publish("a/b", "1");
    await one.next("publish");
    const two = await join("two");
    one.socket.destroy();
    expect(await acknowledged(two)).toBe("1");
  });

  it("gives what a member has not acknowledged to another one when the member's token is revoked", async () => {
    const { test, writer, join } = await start();
    const one = await join("one");
    for (const payload of ["1", "2"]) await writer.publish("a/b", payload);
    for (let count = 0; count < 2; count++) await one.next("publish");
    const two = await join("two");
    expect(test.broker.disconnect(({ clientId }) => clientId === "one")).toBe(1);
    expect([await acknowledged(two), await acknowledged(two)]).toEqual(["1", "2"]);
  });

  it("ends with UNSUBSCRIBE, and sends no retained messages", async () => {
    const { writer, join } = await start();
    await writer.publish("a/kept", "0", { retain: true });
    const one = await join("one");
    one.send({ cmd: "unsubscribe", messageId: 5, unsubscriptions: [FILTER, FILTER] });
    expect(await one.next("unsuback")).toMatchObject({ granted: [0, 0x11] });
    await writer.publish("a/b", "1");
    await one.ping();
    expect(one.packets).toEqual([]);
  });

  it("refuses no local with 0x82, and a malformed filter with 0x8f [MQTT-3.8.3-4] [MQTT-4.8.2-1] [MQTT-4.8.2-2]", async () => {
    const { join } = await start();
    const one = await join("one");
    expect(await one.subscribe("$share/a+/b")).toBe(0x8f);
    expect(await one.subscribe("$share//b")).toBe(0x8f);
    one.send({
      cmd: "subscribe",
      messageId: 1,
      subscriptions: [{ topic: FILTER, qos: 1, nl: true, rap: false, rh: 0 }],
    });
    expect((await one.next("disconnect")).reasonCode).toBe(0x82);
  });
});

it("a persistent member gets its open QoS 2 exchange again [MQTT-4.8.2-4]", async () => {
  const test = await startTestBroker();
  const options = { ...userOf(test, ["admin"], "one"), clean: false, properties: { sessionExpiryInterval: 60 } };
  const one = await connect5(test, options);
  await one.subscribe(FILTER, { qos: 2 });
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  await writer.publish("a", "1", { qos: 2 });
  const { messageId = 0 } = await one.next("publish");
  one.send({ cmd: "pubrec", messageId, reasonCode: 0 });
  await one.next("pubrel");
  one.socket.destroy();
  const again = await connect5(test, options);
  expect(await again.next("pubrel")).toMatchObject({ messageId });
  again.send({ cmd: "pubcomp", messageId, reasonCode: 0 });
  await writer.publish("a", "2", { messageId: 8 });
  expect((await again.next("publish")).payload.toString()).toBe("2");
});

it("each member gets messages with its own granted QoS [MQTT-4.8.2-3]", async () => {
  const test = await startTestBroker();
  const one = await connect5(test, userOf(test, ["admin"], "one"));
  await one.subscribe(FILTER, { qos: 1 });
  const two = await connect5(test, userOf(test, ["admin"], "two"));
  await two.subscribe(FILTER, { qos: 2 });
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  for (const messageId of [1, 2]) await writer.publish("a", "x", { qos: 2, messageId });
  expect([(await one.next("publish")).qos, (await two.next("publish")).qos]).toEqual([1, 2]);
});

it("no other member gets a message that a member has refused, or that was in a QoS 2 exchange with a member whose session ended [MQTT-4.8.2-5] [MQTT-4.8.2-6]", async () => {
  const test = await startTestBroker();
  const one = await connect5(test, userOf(test, ["admin"], "one"));
  await one.subscribe(FILTER, { qos: 2 });
  const writer = await connect5(test, userOf(test, ["admin"], "writer"));
  await writer.publish("a", "refused", { messageId: 1 });
  const refused = await one.next("publish");
  await writer.publish("a", "begun", { qos: 2, messageId: 2 });
  const begun = await one.next("publish");
  const two = await connect5(test, userOf(test, ["admin"], "two"));
  await two.subscribe(FILTER, { qos: 2 });
  one.send({ cmd: "puback", messageId: refused.messageId ?? 0, reasonCode: 0x83 });
  one.send({ cmd: "pubrec", messageId: begun.messageId ?? 0, reasonCode: 0 });
  await one.next("pubrel");
  one.socket.destroy();
  await expect.poll(() => test.broker.stats().clients).toBe(2);
  await writer.publish("a", "next", { messageId: 3 });
  expect((await two.next("publish")).payload.toString()).toBe("next");
  await two.ping();
  expect(two.packets).toEqual([]);
});
