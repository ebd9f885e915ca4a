import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { BrokerLink } from "../../../bridge/broker-link/broker-link.ts";
import { shareLink } from "../../../bridge/broker-link/shared-link.ts";
import type { Cluster } from "../../../bridge/cluster/cluster.ts";
import type { Delivery } from "../../../platform/publications.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { type RedisPlace, redisPlace } from "../cluster/redis-place.ts";
import { type RecordingLink, recordingLink } from "../support/recording-link.ts";

/** Long enough that a busy machine does not make a running node look stopped. */
const DEAD_AFTER_MS = 10_000;

interface Node {
  cluster: Cluster;
  /** The link to the node's own broker. */
  own: RecordingLink;
  link: BrokerLink & { stop(): void };
}

let redis: RedisServer;
let place: RedisPlace;
let nodes: Node[];
let deadAfterMs: number;
let reportEveryMs: number;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());
beforeEach(() => {
  place = redisPlace(redis);
  nodes = [];
  deadAfterMs = DEAD_AFTER_MS;
  reportEveryMs = 20;
});
afterEach(async () => {
  for (const { link } of nodes) link.stop();
  await place.dispose();
});

async function startNode(...connected: string[]): Promise<Node> {
  const cluster = await place.open({ heartbeatMs: 100, deadAfterMs });
  const own = recordingLink();
  for (const identity of connected) own.connections.add(identity);
  const identities = () => own.connections;
  const logger = pino({ level: "silent" });
  const link = await shareLink({ link: own, identities, cluster, intervalMs: reportEveryMs, now: Date.now, logger });
  const node = { cluster, own, link };
  nodes.push(node);
  return node;
}

test("the shared link knows at its start which devices are connected to other nodes", async () => {
  await startNode("device:north", "service:worker", "user:alice");
  const there = await startNode();
  expect(there.link.connected("device:north")).toBe(true);
  expect(there.link.connected("service:worker")).toBe(true);
  expect(there.link.connected("device:south")).toBe(false);
  // Nodes do not share which users are connected.
  expect(there.link.connected("user:alice")).toBe(false);
});

test("the shared link learns when a device connects to another node or disconnects from it", async () => {
  const [here, there] = [await startNode(), await startNode()];
  here.own.connections.add("device:north");
  await vi.waitFor(() => expect(there.link.connected("device:north")).toBe(true));
  here.own.connections.delete("device:north");
  await vi.waitFor(() => expect(there.link.connected("device:north")).toBe(false));
});

test("the shared link shows a device as connected while the device moves from node to node", async () => {
  const [here, there, watcher] = [await startNode("device:north"), await startNode(), await startNode()];
  for (let round = 0; round < 10; round++) {
    const [from, to] = round % 2 === 0 ? [here, there] : [there, here];
    to.own.connections.add("device:north");
    await vi.waitFor(() => expect(from.link.connected("device:north")).toBe(true));
    from.own.connections.delete("device:north");
    expect(watcher.link.connected("device:north")).toBe(true);
  }
});

test("the shared link shares twelve thousand devices in several messages", async () => {
  const names = Array.from({ length: 12_000 }, (_, index) => `device:camera-${index}`);
  await startNode(...names);
  const there = await startNode();
  await vi.waitFor(() => expect(names.filter((name) => !there.link.connected(name))).toEqual([]));
});

test("the shared link shows the devices of a dead node as disconnected", async () => {
  deadAfterMs = 2_000;
  const [dead, alive] = [await startNode("device:north"), await startNode()];
  expect(alive.link.connected("device:north")).toBe(true);
  await place.kill(dead.cluster);
  await vi.waitFor(() => expect(alive.link.connected("device:north")).toBe(false));
});

test("the shared link knows at every node when a device has disconnected from all nodes", async () => {
  deadAfterMs = 2_000;
  const [here, there] = [await startNode("device:north", "device:south"), await startNode("device:north")];
  // A node starts without the lists of the others if these take longer than a second.
  await vi.waitFor(() => expect(there.link.connected("device:south")).toBe(true));
  const startedAt = Date.now();
  there.own.connections.delete("device:north");
  here.own.connections.delete("device:south");
  await vi.waitFor(() => {
    for (const { link } of [here, there]) expect(link.leftAt?.("device:south")).toBeGreaterThanOrEqual(startedAt);
  });
  expect(there.link.leftAt?.("device:north")).toBeUndefined();
  await place.kill(here.cluster);
  await vi.waitFor(() => expect(there.link.leftAt?.("device:north")).toBeGreaterThanOrEqual(startedAt));
  there.own.connections.add("device:north");
  expect(there.link.leftAt?.("device:north")).toBeUndefined();
  expect(there.link.leftAt?.("device:east")).toBeUndefined();
});

test("the shared link notes a disconnected device when another node asks for the list before the next report", async () => {
  const here = await startNode();
  reportEveryMs = 600_000;
  const asked = await startNode("device:south");
  const ask = () => here.cluster.signals.send("mqtt-clients?", null);
  ask();
  await vi.waitFor(() => expect(here.link.connected("device:south")).toBe(true));
  asked.own.connections.delete("device:south");
  ask();
  await vi.waitFor(() => expect(asked.link.leftAt?.("device:south")).toBeDefined());
});

test("the shared link reports a delivery of one node once at every node", async () => {
  const [here, there] = [await startNode("device:north"), await startNode()];
  const deliveries: Delivery[][] = [[], []];
  here.link.onDelivered((delivery) => deliveries[0]?.push(delivery));
  const unsubscribe = there.link.onDelivered((delivery) => deliveries[1]?.push(delivery));
  const delivery = { identity: "device:north", topic: "a/b", payload: Buffer.from([0, 255, 7]) };
  here.own.deliver(delivery);
  here.own.deliver({ ...delivery, identity: "user:alice" });
  await vi.waitFor(() => expect(deliveries[1]).toEqual([delivery]));
  expect(deliveries[0]).toHaveLength(2);
  unsubscribe();
  here.own.deliver(delivery);
  await vi.waitFor(() => expect(deliveries[0]).toHaveLength(3));
  expect(deliveries[1]).toHaveLength(1);
});

test("the shared link knows its own devices while Redis is unavailable, and all nodes' devices afterwards", async () => {
  const own = await startRedis();
  place = redisPlace(own);
  try {
    const [here, there] = [await startNode("device:north"), await startNode()];
    await own.stop("SIGKILL");
    await vi.waitFor(() => expect(here.cluster.unavailableReason).toBeDefined());
    here.own.connections.add("device:south");
    expect(here.link.connected("device:south")).toBe(true);
    await own.startEmpty();
    await vi.waitFor(() => expect(there.link.connected("device:south")).toBe(true));
  } finally {
    for (const { link } of nodes) link.stop();
    await place.dispose();
    await own.remove();
  }
});

test("the shared link reports a take-over at one node once at every node", async () => {
  const [here, there] = [await startNode(), await startNode()];
  const takeOvers: string[] = [];
  here.link.onTakeOver(({ clientId, identity }) => takeOvers.push(`here ${clientId} ${identity}`));
  there.link.onTakeOver(({ clientId, identity }) => takeOvers.push(`there ${clientId} ${identity}`));
  there.own.takeOver("cam-1", "device:north");
  here.own.takeOver("cam-2", "device:south");
  await vi.waitFor(() => expect(takeOvers).toHaveLength(4));
  expect(takeOvers.sort()).toEqual([
    "here cam-1 device:north",
    "here cam-2 device:south",
    "there cam-1 device:north",
    "there cam-2 device:south",
  ]);
});
