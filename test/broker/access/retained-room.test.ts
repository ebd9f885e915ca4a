import { expect, it } from "vitest";
import { type BrokerUnderTest, inboxOf, NORTH, SECRET, startTestBroker, topic } from "../broker-under-test.ts";

const SOUTH = { username: "south", password: SECRET };
const retained = { qos: 1, retain: true } as const;

/** The names and lengths of the retained messages below cameras. */
async function retainedIn(test: BrokerUnderTest, count: number): Promise<string[]> {
  const reader = await test.client({ username: "r", password: test.token(["dashboard:read"]) });
  const inbox = inboxOf(reader);
  await reader.subscribeAsync(topic("cameras/#"), { qos: 1 });
  const messages = await inbox.has(count);
  await reader.endAsync();
  return messages.map(({ topic: name, payload }) => `${name.split("cameras/")[1]} ${payload.length}`).toSorted();
}

it("the broker delivers and reports, but does not retain, messages of a device beyond MAX_RETAINED_BYTES_PER_DEVICE", async () => {
  const test = await startTestBroker({ env: { MAX_RETAINED_BYTES_PER_DEVICE: "1000" } });
  const reported: unknown[] = [];
  test.broker.onPublicationRefused((refused) => reported.push(refused));
  const [north, south] = await Promise.all([test.client(NORTH), test.client(SOUTH)]);
  for (const [name, bytes] of [
    ["a", 600],
    ["b", 500],
    ["a", 300],
    ["c", 700],
    ["d", 1],
  ] as const)
    await north.publishAsync(topic(`cameras/north/state/${name}`), "x".repeat(bytes), retained);
  await south.publishAsync(topic("cameras/south/state/a"), "x".repeat(1000), retained);
  expect(await retainedIn(test, 3)).toEqual(["north/state/a 300", "north/state/c 700", "south/state/a 1000"]);
  expect(test.ingest.accepted).toHaveLength(6);
  expect(test.ingest.accepted.map(({ retain }) => retain)).toEqual([true, false, true, true, false, true]);
  expect(reported).toMatchObject([
    { identity: "device:north", reason: "no_room", topic: topic("cameras/north/state/b") },
  ]);
  expect(test.broker.stats()).toMatchObject({ refusedRetained: 2, refusedPublishes: 2 });
});

it("the broker limits all retained messages to MAX_RETAINED_BYTES, but always lets a smaller message replace a larger message", async () => {
  const test = await startTestBroker({ env: { MAX_RETAINED_BYTES: "1000" } });
  const north = await test.client(NORTH);
  const admin = await test.client({ username: "a", password: test.token(["admin"]) });
  await admin.publishAsync("house/light", "x".repeat(600), retained);
  await north.publishAsync(topic("cameras/north/state/a"), "x".repeat(400), retained);
  await admin.publishAsync("house/door", "x", retained);
  await north.publishAsync(topic("cameras/north/state/a"), "x".repeat(300), retained);
  expect(await retainedIn(test, 1)).toEqual(["north/state/a 300"]);
  expect(test.broker.stats()).toMatchObject({ retainedMessages: 2, refusedRetained: 1 });
});

it("the broker counts the stored retained bytes at its start", async () => {
  const env = { MAX_RETAINED_BYTES_PER_DEVICE: "1000" };
  const first = await startTestBroker({ env });
  const before = await first.client(NORTH);
  await before.publishAsync(topic("cameras/north/state/a"), "x".repeat(800), retained);
  await first.broker.stop();
  const second = await startTestBroker({ env, dataPath: first.dataPath });
  const after = await second.client(NORTH);
  await after.publishAsync(topic("cameras/north/state/b"), "x".repeat(300), retained);
  expect(second.broker.stats()).toMatchObject({ retainedMessages: 1, refusedRetained: 1 });
  expect(await retainedIn(second, 1)).toEqual(["north/state/a 800"]);
});

it("the broker delivers, but does not retain, a will beyond the limit of its device", async () => {
  const test = await startTestBroker({ env: { MAX_RETAINED_BYTES_PER_DEVICE: "1000" } });
  const north = await test.client(NORTH);
  await north.publishAsync(topic("cameras/north/state/a"), "x".repeat(900), retained);
  const reader = await test.client({ username: "r", password: test.token(["dashboard:read"]) });
  const inbox = inboxOf(reader);
  await reader.subscribeAsync(topic("cameras/north/state/b"), { qos: 1 });
  const will = { topic: topic("cameras/north/state/b"), payload: Buffer.from("x".repeat(500)), ...retained };
  const leaving = await test.client({ ...NORTH, will });
  leaving.stream.destroy();
  await inbox.has(1);
  expect(test.ingest.accepted.at(-1)).toMatchObject({ topic: will.topic, retain: false });
  expect(test.broker.stats()).toMatchObject({ retainedMessages: 1, refusedRetained: 1 });
});

it("the broker delivers, but does not retain, a will outside the root beyond MAX_RETAINED_BYTES", async () => {
  const test = await startTestBroker({ env: { MAX_RETAINED_BYTES: "1000" } });
  const admin = { username: "a", password: test.token(["admin"]) };
  const reader = await test.client(admin);
  const inbox = inboxOf(reader);
  await reader.subscribeAsync("house/#", { qos: 1 });
  const will = { topic: "house/light", payload: Buffer.from("x".repeat(1001)), ...retained };
  const leaving = await test.client({ ...admin, will });
  leaving.stream.destroy();
  await inbox.has(1);
  expect(test.broker.stats()).toMatchObject({ retainedMessages: 0, refusedRetained: 1 });
});

it("the broker limits the retained messages of a device that sends many before the first is stored", async () => {
  const test = await startTestBroker({
    env: { MAX_RETAINED_MESSAGES_PER_DEVICE: "10", MAX_RETAINED_BYTES_PER_DEVICE: "900" },
  });
  const [north, south] = await Promise.all([test.client(NORTH), test.client(SOUTH)]);
  const names = Array.from({ length: 24 }, (_, index) => `state/s${index}`);
  await Promise.all([
    ...names.map((name) => north.publishAsync(topic(`cameras/north/${name}`), "x", retained)),
    ...names.map((name) => south.publishAsync(topic(`cameras/south/${name}`), "x".repeat(200), retained)),
  ]);
  expect(await retainedIn(test, 14)).toHaveLength(14);
  expect(test.broker.stats()).toMatchObject({ retainedMessages: 14, refusedRetained: 34 });
  // The room of the refused and of the stored messages is free.
  await north.publishAsync(topic("cameras/north/state/s0"), "y".repeat(800), retained);
  expect(test.broker.stats()).toMatchObject({ retainedMessages: 14, refusedRetained: 34 });
});

it("the bytes that the backend retains for Home Assistant take no room from others", async () => {
  const test = await startTestBroker({ env: { MAX_RETAINED_BYTES: "1000" } });
  const north = await test.client(NORTH);
  for (const name of ["state", "picture"])
    await test.broker.publish({
      topic: topic(`home-assistant/north/${name}`),
      payload: Buffer.alloc(900),
      ...retained,
    });
  await north.publishAsync(topic("cameras/north/state/a"), "x".repeat(600), retained);
  await north.publishAsync(topic("cameras/north/state/b"), "x".repeat(600), retained);
  expect(await retainedIn(test, 1)).toEqual(["north/state/a 600"]);
});
