import { expect, it } from "vitest";
import type { ShareConnection, ShareDelivery } from "../../../broker/sessions/shares/share-client.ts";
import { openStorage } from "./storage-over-journal.ts";

const IDENTITY = "user:alice";
const SHARED = { share: "workers", filter: "a" };
const KEY = `${IDENTITY}\u001fworker`;

function connection(): ShareConnection & { sent: ShareDelivery[] } {
  const sent: ShareDelivery[] = [];
  const open = { window: 64, isFull: false, isFree: () => true, mayReceive: () => true, close: () => {} };
  return { ...open, sent, send: (delivery) => sent.push(delivery) };
}

async function start() {
  const { storage, journal } = await openStorage({ now: Date.now });
  const connect = () => {
    const to = connection();
    const client = storage.shares.connect(KEY, false, to);
    const subscribe = () => storage.shares.subscribe(client, IDENTITY, SHARED, { qos: 1 });
    return { client, subscribe, sent: to.sent };
  };
  const publish = () =>
    journal.mqtt.append({ topic: "a", payload: Buffer.from("x"), qos: 1, retain: false, incomingId: undefined });
  return { shares: storage.shares, connect, publish };
}

it("a client that connects again while its first connection joins a group stays a member", async () => {
  const { shares, connect, publish } = await start();
  const first = connect();
  const joining = first.subscribe();
  const second = connect();
  await Promise.all([second.subscribe(), joining]);
  expect([shares.size, shares.members]).toEqual([1, 1]);
  await publish();
  await expect.poll(() => second.sent.length).toBe(1);
});

it("a group ends with a member whose connection ends while it joins", async () => {
  const { shares, connect } = await start();
  const first = connect();
  const joining = first.subscribe();
  shares.disconnect(first.client);
  await joining;
  expect(shares.size).toBe(0);
  await first.subscribe();
  expect(shares.size).toBe(0);
});

it("a client that connects again without a subscription leaves the group that its first connection was joining", async () => {
  const { shares, connect } = await start();
  const joining = connect().subscribe();
  const second = connect();
  await joining;
  shares.disconnect(second.client);
  expect(shares.size).toBe(0);
});
