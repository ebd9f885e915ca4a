import { describe, expect, it } from "vitest";
import { startTestBroker, topic } from "../broker-under-test.ts";
import { connect5, NORTH5, tryConnect5, userOf } from "./client5.ts";

const LINK = topic("cameras/north/link");
const WILL = { topic: LINK, payload: Buffer.from("gone"), qos: 1, retain: false } as const;
const SESSION = { clean: false, properties: { sessionExpiryInterval: 60 } };

async function reading() {
  const test = await startTestBroker();
  const reader = await connect5(test, userOf(test, ["admin"]));
  await reader.subscribe(topic("cameras/#"), { qos: 1, rap: true });
  return { test, reader };
}

describe("a will", () => {
  it("comes when the connection ends without DISCONNECT, with its properties and RETAIN [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-15] [MQTT-3.1.3-10]", async () => {
    const { test, reader } = await reading();
    const properties = { contentType: "x/y", messageExpiryInterval: 60, userProperties: { b: "1", a: "2" } };
    const north = await connect5(test, { ...NORTH5, will: { ...WILL, retain: true, properties } });
    north.socket.destroy();
    const { properties: got, ...publish } = await reader.next("publish");
    expect(publish).toMatchObject({ topic: LINK, payload: Buffer.from("gone"), retain: true, qos: 1 });
    expect(got).toMatchObject(properties);
    expect(Object.keys(got?.userProperties ?? {})).toEqual(["b", "a"]);
    expect(test.ingest.accepted[0]).toMatchObject({ identity: "device:north", publisher: "camera-north" });
  });

  it("comes after DISCONNECT 0x04 and after a protocol error, and not after DISCONNECT 0x00 [MQTT-3.1.2-10] [MQTT-3.14.4-3]", async () => {
    const { test, reader } = await reading();
    const quiet = await connect5(test, { ...NORTH5, will: { ...WILL, payload: Buffer.from("0") } });
    quiet.send({ cmd: "disconnect", reasonCode: 0 });
    await quiet.ended;
    const asked = await connect5(test, { ...NORTH5, will: { ...WILL, payload: Buffer.from("4") } });
    asked.send({ cmd: "disconnect", reasonCode: 4 });
    expect((await reader.next("publish")).payload.toString()).toBe("4");
    const broken = await connect5(test, { ...NORTH5, will: { ...WILL, payload: Buffer.from("error") } });
    broken.sendBytes([0x00, 0]);
    expect((await reader.next("publish")).payload.toString()).toBe("error");
    await reader.ping();
    expect(reader.packets).toEqual([]);
  });

  it("with a delay does not come if the client comes back in time, and comes if it does not [MQTT-3.1.3-9]", async () => {
    const { test, reader } = await reading();
    const will = { ...WILL, properties: { willDelayInterval: 1 } };
    const first = await connect5(test, { ...NORTH5, ...SESSION, will: { ...will, payload: Buffer.from("first") } });
    first.socket.destroy();
    const second = await connect5(test, { ...NORTH5, ...SESSION, will: { ...will, payload: Buffer.from("second") } });
    second.socket.destroy();
    expect((await reader.next("publish")).payload.toString()).toBe("second");
  });

  it("with a delay comes at once when its session ends: without expiry interval, and with clean start", async () => {
    const { test, reader } = await reading();
    const will = { ...WILL, properties: { willDelayInterval: 1000 } };
    const first = await connect5(test, { ...NORTH5, will });
    first.socket.destroy();
    expect((await reader.next("publish")).payload.toString()).toBe("gone");
    const second = await connect5(test, { ...NORTH5, ...SESSION, will });
    second.socket.destroy();
    await expect.poll(() => test.broker.connected("device:north")).toBe(false);
    await connect5(test, NORTH5);
    expect((await reader.next("publish")).payload.toString()).toBe("gone");
  });

  it("of a taken over connection comes without a delay, and does not come with one", async () => {
    const { test, reader } = await reading();
    await connect5(test, { ...NORTH5, ...SESSION, will: WILL });
    const will = { ...WILL, payload: Buffer.from("delayed"), properties: { willDelayInterval: 1000 } };
    await connect5(test, { ...NORTH5, ...SESSION, will });
    expect((await reader.next("publish")).payload.toString()).toBe("gone");
    const last = await connect5(test, { ...NORTH5, ...SESSION });
    await last.publish(LINK, "here");
    expect((await reader.next("publish")).payload.toString()).toBe("here");
  });

  it("that its client may not publish is dropped, and the client connects", async () => {
    const { test, reader } = await reading();
    const other = { ...WILL, topic: topic("cameras/south/link") };
    const north = await connect5(test, { ...NORTH5, will: other });
    north.socket.destroy();
    expect(await test.logged("will dropped")).toMatchObject({ topic: other.topic });
    await expect.poll(() => test.broker.connected("device:north")).toBe(false);
    await reader.ping();
    expect(reader.packets).toEqual([]);
  });
});

it("the will of a session comes once when a client of the other version of MQTT takes the session over", async () => {
  const test = await startTestBroker();
  const watcher = await connect5(test, userOf(test, ["admin"], "watcher"));
  await watcher.subscribe("will");
  const willOf = (text: string) => ({ topic: "will", payload: Buffer.from(text), qos: 1 as const, retain: false });
  const {
    username = "",
    password = "",
    clientId = "",
  } = { ...userOf(test, ["admin"]), password: test.token(["admin"]) };
  const properties = { sessionExpiryInterval: 60 };
  for (const round of [1, 2]) {
    await test.client({ username, password, clientId, clean: false, will: willOf(`MQTT 3.1.1, ${round}`) });
    const five = { ...userOf(test, ["admin"]), clean: false, properties, will: willOf(`MQTT 5, ${round}`) };
    expect((await tryConnect5(test, five)).connack).toMatchObject({ reasonCode: 0, sessionPresent: true });
  }
  await test.client({ username, password, clientId, clean: false });
  const wills: string[] = [];
  for (let count = 0; count < 4; count++) wills.push((await watcher.next("publish")).payload.toString());
  expect(wills).toEqual(["MQTT 3.1.1, 1", "MQTT 5, 1", "MQTT 3.1.1, 2", "MQTT 5, 2"]);
  await watcher.ping();
  expect(watcher.packets).toEqual([]);
  expect(test.broker.stats()).toMatchObject({ clients: 2 });
});
