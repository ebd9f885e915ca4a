import { describe, expect, it } from "vitest";
import { inboxOf, NORTH, SECRET, startTestBroker, topic } from "./broker-under-test.ts";
import { idPacket, PINGREQ, publishPacket, rawSession, TYPE } from "./raw-client.ts";

const EVENT = topic("cameras/north/events/capture.completed");
const CAMERA = { clientId: "north-1", username: "north", password: SECRET };
const NOTHING_YET: never[] = [];

/** A promise that the test settles. */
function held<Value>(): { promise: Promise<Value>; resolve: (value: Value) => void; reject: (error: Error) => void } {
  let resolve: (value: Value) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

async function startWithReader(options = {}) {
  const test = await startTestBroker(options);
  const reader = await test.client({ username: "reader", password: test.token(["dashboard:read"]) });
  const inbox = inboxOf(reader);
  await reader.subscribeAsync(topic("cameras/#"), { qos: 2 });
  return { ...test, inbox };
}

describe.each([0, 1, 2] as const)("a historical publication of QoS %i with the retain flag", (qos) => {
  it("reaches subscribers and replaces no retained message", async () => {
    const test = await startWithReader();
    const { ingest, inbox } = test;
    const north = await test.client({ clientId: "north-1", username: "north", password: SECRET });
    const state = topic("cameras/north/state/power");
    await north.publishAsync(state, "now", { qos: 1, retain: true });
    ingest.answer = async () => ({ forward: true, historical: true });
    await north.publishAsync(state, "yesterday", { qos, retain: true });
    expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["now", "yesterday"]);
    const later = await test.client({ username: "later", password: test.token(["dashboard:read"]) });
    const laterInbox = inboxOf(later);
    await later.subscribeAsync(state, { qos: 1 });
    expect(await laterInbox.has(1)).toMatchObject([{ payload: "now", retain: true }]);
  });
});

describe.each([
  [1, TYPE.puback],
  [2, TYPE.pubrec],
] as const)("a publication of QoS %i", (qos, acknowledgement) => {
  it("is neither acknowledged nor forwarded before it is durable", async () => {
    const { broker, ingest, inbox } = await startWithReader();
    const durable = held<{ position: number; forward: boolean }>();
    ingest.answer = () => durable.promise;
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    camera.send(publishPacket({ topic: EVENT, payload: "one", qos, id: 7 }));
    // The connection's next packet is answered, so the publication has been read and is waiting.
    camera.send(PINGREQ);
    await camera.next(TYPE.pingresp);
    expect(ingest.accepted).toHaveLength(1);
    expect(camera.packets).toEqual(NOTHING_YET);
    expect(inbox.messages).toEqual(NOTHING_YET);

    durable.resolve({ position: 41, forward: true });
    expect((await camera.next(acknowledgement)).readUInt16BE(0)).toBe(7);
    expect(await inbox.has(1)).toMatchObject([{ topic: EVENT, payload: "one", qos }]);
  });

  it("is not acknowledged when it cannot be written, and its sender is disconnected", async () => {
    const { broker, ingest, inbox, logged } = await startWithReader();
    ingest.answer = () => Promise.reject(new Error("disk full"));
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    camera.send(publishPacket({ topic: EVENT, payload: "one", qos, id: 7 }));
    await camera.ended;
    expect(camera.packets).toEqual(NOTHING_YET);
    expect(inbox.messages).toEqual(NOTHING_YET);
    expect(broker.stats().notAccepted).toBe(1);
    expect(await logged("publications cannot be made durable")).toMatchObject({ err: { message: "disk full" } });

    ingest.answer = async () => ({ position: 1, forward: true });
    const again = await rawSession(broker.ports.mqtt, CAMERA);
    again.send(publishPacket({ topic: EVENT, payload: "one", qos, id: 7, dup: true }));
    await again.next(acknowledgement);
    expect(await inbox.has(1)).toMatchObject([{ payload: "one", dup: false }]);
    await logged("publications are durable again");
  });

  it("is acknowledged and not forwarded when it is a duplicate", async () => {
    const { broker, ingest, inbox } = await startWithReader();
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    ingest.answer = async () => ({ forward: false });
    camera.send(publishPacket({ topic: EVENT, payload: "again", qos, id: 7 }));
    await camera.next(acknowledgement);
    ingest.answer = async () => ({ position: 2, forward: true });
    camera.send(publishPacket({ topic: EVENT, payload: "new", qos, id: 8 }));
    await camera.next(acknowledgement);
    expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["new"]);
  });

  it("reaches subscribers even when its sender disconnects before the acknowledgement", async () => {
    const { broker, ingest, inbox } = await startWithReader();
    const durable = held<{ position: number; forward: boolean }>();
    ingest.answer = () => durable.promise;
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    camera.send(publishPacket({ topic: EVENT, payload: "one", qos, id: 7 }));
    await expect.poll(() => ingest.accepted.length).toBe(1);
    camera.socket.destroy();
    await expect.poll(() => broker.stats().clients).toBe(1);
    durable.resolve({ position: 41, forward: true });
    expect(await inbox.has(1)).toMatchObject([{ payload: "one" }]);
  });

  it("keeps its order among the publications of its connection", async () => {
    const { broker, ingest, inbox } = await startWithReader();
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    const packets = Array.from({ length: 200 }, (_, index) =>
      publishPacket({ topic: EVENT, payload: String(index), qos, id: index + 1 }),
    );
    camera.send(Buffer.concat(packets));
    const received = await inbox.has(200);
    const inOrder = packets.map((_, index) => String(index));
    expect(ingest.accepted.map(({ payload }) => payload.toString())).toEqual(inOrder);
    expect(received.map(({ payload }) => payload)).toEqual(inOrder);
  });
});

describe("a publication of QoS 0", () => {
  it("is forwarded immediately and recorded in the background", async () => {
    const { client, ingest, inbox } = await startWithReader();
    const durable = held<{ position: number; forward: boolean }>();
    ingest.answer = () => durable.promise;
    const camera = await client(NORTH);
    await camera.publishAsync(EVENT, "one", { qos: 0 });
    expect(await inbox.has(1)).toMatchObject([{ payload: "one" }]);
    expect(ingest.accepted).toHaveLength(1);
    durable.resolve({ position: 5, forward: true });
  });

  it("does not disconnect its sender when it cannot be written", async () => {
    const { client, broker, ingest } = await startWithReader();
    ingest.answer = () => Promise.reject(new Error("disk full"));
    const camera = await client(NORTH);
    await camera.publishAsync(EVENT, "one", { qos: 0 });
    await expect.poll(() => broker.stats().notAccepted).toBe(1);
    ingest.answer = async () => ({ position: 1, forward: true });
    await camera.publishAsync(EVENT, "two", { qos: 1 });
  });
});

describe("a publication of QoS 2 that is resent before its PUBREL", () => {
  it("is accepted once", async () => {
    const { broker, ingest, inbox } = await startWithReader();
    const camera = await rawSession(broker.ports.mqtt, CAMERA);
    for (const dup of [false, true, true]) {
      camera.send(publishPacket({ topic: EVENT, payload: "one", qos: 2, id: 7, dup }));
      await camera.next(TYPE.pubrec);
    }
    camera.send(idPacket(TYPE.pubrel, 7));
    await camera.next(TYPE.pubcomp);
    camera.send(publishPacket({ topic: EVENT, payload: "two", qos: 2, id: 7 }));
    await camera.next(TYPE.pubrec);
    expect((await inbox.has(2)).map(({ payload }) => payload)).toEqual(["one", "two"]);
    expect(ingest.accepted).toHaveLength(2);
  });

  it("is accepted once although it is resent over a new connection and again after a restart", async () => {
    const first = await startWithReader();
    const persistent = { ...CAMERA, clean: false };
    const one = publishPacket({ topic: EVENT, payload: "one", qos: 2, id: 7 });
    const again = publishPacket({ topic: EVENT, payload: "one", qos: 2, id: 7, dup: true });
    const camera = await rawSession(first.broker.ports.mqtt, persistent);
    camera.send(one);
    await camera.next(TYPE.pubrec);
    camera.socket.destroy();
    const back = await rawSession(first.broker.ports.mqtt, persistent);
    back.send(again);
    await back.next(TYPE.pubrec);
    expect(first.ingest.accepted).toHaveLength(1);
    await first.broker.stop();

    const second = await startWithReader({ dataPath: first.dataPath });
    const later = await rawSession(second.broker.ports.mqtt, persistent);
    later.send(again);
    await later.next(TYPE.pubrec);
    later.send(idPacket(TYPE.pubrel, 7));
    await later.next(TYPE.pubcomp);
    expect(second.ingest.accepted).toEqual([]);
  });

  it("is accepted once although it is resent over a new connection before the first copy is durable", async () => {
    const { broker, ingest, inbox } = await startWithReader();
    const persistent = { ...CAMERA, clean: false };
    const durable = held<{ position: number; forward: boolean }>();
    ingest.answer = () => durable.promise;
    const camera = await rawSession(broker.ports.mqtt, persistent);
    camera.send(publishPacket({ topic: EVENT, payload: "one", qos: 2, id: 7 }));
    await expect.poll(() => ingest.accepted.length).toBe(1);
    const back = await rawSession(broker.ports.mqtt, persistent);
    back.send(publishPacket({ topic: EVENT, payload: "one", qos: 2, id: 7, dup: true }));
    back.send(PINGREQ);
    await back.next(TYPE.pingresp);
    durable.resolve({ position: 1, forward: true });
    await back.next(TYPE.pubrec);
    back.send(idPacket(TYPE.pubrel, 7));
    await back.next(TYPE.pubcomp);
    expect(ingest.accepted).toHaveLength(1);
    expect(await inbox.has(1)).toHaveLength(1);
  });
});
