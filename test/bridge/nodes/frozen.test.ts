import { pino } from "pino";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { topicTree } from "../../../contract/topics.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startChildProgram } from "../../support/child-program.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";
import type { NodeMessage, NodeOptions, Said } from "./node-child.ts";

/** A busy machine may pause a process for a second, which must not cost a lease. */
const FAST = { heartbeatMs: 300, deadAfterMs: 4_000, leaseMs: 3_500 };
const ENV = { PRESENCE_GRACE_MS: "1000", LINK_GAP_SETTLE_SECONDS: "1", SHUTDOWN_SPREAD_MS: "0" };
const CONNECTED = ["device:north"];
/** Presence, duplicate devices, link gaps, alerts, names in Home Assistant, removed devices, records, desired states, system status. */
const TASKS = 9;
const BEGUN = "node runs the task";
const LOST = "node has lost the task to another node, or to a pause of Redis";

const tree = topicTree();
const logger = pino({ level: "silent" });
let redis: RedisServer;
let prefixes = 0;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

interface Nodes {
  /** The holder of all leases, in its own process. */
  holder: Awaited<ReturnType<typeof startHolder>>;
  other: TestBridge;
  /** Resolves when the other node does all tasks. */
  takenOver(): Promise<void>;
}

/** @param connected the clients that the holder knows to be connected */
async function startNodes(connected: readonly string[]): Promise<Nodes> {
  const prefix = `frozen-${prefixes++}`;
  const holder = await startHolder(prefix, connected);
  const access = openRedis({ url: redis.url, prefix, logger });
  onTestFinished(() => access.close());
  // On a busy machine, a node may lose a task and begin it again.
  const begun = new Set<unknown>();
  const log = ({ msg, task }: Record<string, unknown>) => {
    if (msg === BEGUN) begun.add(task);
  };
  const other = await startTestBridge({ env: ENV, redis: { access, cluster: FAST }, log });
  onTestFinished(() => other.stop());
  for (const identity of CONNECTED) other.link.connections.add(identity);
  return { holder, other, takenOver: () => vi.waitFor(() => expect(begun.size).toBe(TASKS)) };
}

async function startHolder(prefix: string, connected: readonly string[]) {
  const options: NodeOptions = { url: redis.url, prefix, cluster: FAST, connected, env: ENV };
  const child = startChildProgram<Said, NodeMessage>("bridge/nodes/node-child", JSON.stringify(options));
  onTestFinished(() => child.kill());
  const messages: NodeMessage[] = [];
  child.onMessage((message) => messages.push(message));
  const all = <Kind extends NodeMessage["kind"]>(kind: Kind) =>
    messages.filter((message): message is Extract<NodeMessage, { kind: Kind }> => message.kind === kind);
  /** The tasks with this line. */
  const logged = (line: string) =>
    new Set(all("logged").flatMap(({ message, task }) => (message === line ? [task] : []))).size;
  await vi.waitFor(() => expect(all("ready")).toHaveLength(1));
  await vi.waitFor(() => expect(logged(BEGUN)).toBe(TASKS));
  const [{ port, token } = { port: 0, token: "" }] = all("ready");
  return {
    dashboard: () => connect(`ws://127.0.0.1:${port}/ws`, token),
    hasLost: () => vi.waitFor(() => expect(logged(LOST)).toBe(TASKS)),
    published: () => all("published"),
    /** Resolves when the node's watchers have received the message. */
    async say(topic: string, payload: unknown, retain = false) {
      const before = all("said").length;
      child.send({ topic, payload, retain });
      await vi.waitFor(() => expect(all("said")).toHaveLength(before + 1));
    },
    freeze: () => child.process.kill("SIGSTOP"),
    thaw: () => child.process.kill("SIGCONT"),
  };
}

function follow({ journal }: TestBridge, topic: string): { event: string; data: unknown }[] {
  const events: { event: string; data: unknown }[] = [];
  journal.follow((entries) => {
    for (const entry of entries)
      if (entry.topic === `${tree.root}/${topic}`) events.push(JSON.parse(`{${entry.body}}`));
  });
  return events;
}

let ids = 0;
const capture = (seq: number) => {
  const timestamp = new Date(Date.UTC(2026, 2, 12) + seq * 1_000).toISOString();
  return { v: 1, id: `capture-${ids++}`, timestamp, session: "s1", seq, event: "capture.completed", data: {} };
};
const CAPTURES = "cameras/north/events/capture.completed";
const LINK = "cameras/north/link";

it("a node that was frozen past its leases publishes nothing for its former tasks, and the next holder continues with what it began", async () => {
  // The connection of the camera's return is unknown to the holder while it is frozen.
  const { holder, other, takenOver } = await startNodes([]);
  const presence = follow(other, "cameras/north/state/presence");
  const gaps = follow(other, "cameras/north/events/link.gap");
  await holder.say(LINK, { status: "online", session: "s1" }, true);
  for (const seq of [1, 2, 5]) await holder.say(CAPTURES, capture(seq));
  await vi.waitFor(() => expect(presence).toMatchObject([{ event: "camera.online" }]));
  // Without the return of the camera, which the frozen node does not see, the camera would be offline in a second.
  await holder.say(LINK, { status: "offline", session: "s1" }, true);
  holder.freeze();
  await other.say(LINK, { status: "online", session: "s1" }, true);
  await takenOver();
  holder.thaw();
  await holder.hasLost();
  // The wait for the missing messages begins again with the take-over.
  let seq = 6;
  await vi.waitFor(async () => {
    await other.say(CAPTURES, capture(seq++));
    expect(gaps).toHaveLength(1);
  });
  expect(gaps).toMatchObject([{ data: { first_seq: 3, last_seq: 4, count: 2 } }]);
  const { body } = await other.call("/cameras/north", { token: OPERATOR_KEY });
  expect(body.presence.status).toBe("online");
  expect(presence).toHaveLength(1);
});

it("the commands of a frozen node are sent by another node in their order, and the frozen node reports their true outcome when it runs again", async () => {
  const { holder, other } = await startNodes(CONNECTED);
  const clients = [
    await holder.dashboard(),
    await holder.dashboard(),
    await connect(urlOf(other), other.mint("camera:control")),
  ];
  const queued = async (count: number) =>
    await vi.waitFor(async () => {
      const queue = await other.cluster.documents.get("command-queues", "north");
      expect(queue?.value ?? []).toHaveLength(count);
    });
  for (const [index, client] of clients.entries()) {
    client.send({ type: "command", id: index, camera: "north", name: "capture.now", args: {} });
    await queued(index + 1);
  }
  await vi.waitFor(() => expect(holder.published()).toHaveLength(1));
  holder.freeze();
  const sent = () =>
    other.link.publications.filter(({ topic }) => topic.includes("/commands/")).map(({ payload }) => idIn(payload));
  for (const count of [1, 2, 3]) {
    await vi.waitFor(() => expect(sent()).toHaveLength(count));
    await other.say("cameras/north/replies/capture.now", { command_id: sent().at(-1), status: "succeeded" });
  }
  await clients[2]?.next("command_result", ({ status }) => status === "succeeded");
  holder.thaw();
  for (const client of clients.slice(0, 2)) await client.next("command_result", ({ status }) => status === "succeeded");
  expect(sent()[0]).toBe(holder.published()[0]?.id);
  expect(new Set(sent()).size).toBe(3);
  expect(holder.published()).toHaveLength(1);
  await queued(0);
});

it("GET /stats counts neither a frozen node nor its connections, and counts them again when the node runs again", async () => {
  const { holder, other } = await startNodes([]);
  for (let count = 0; count < 2; count++) await holder.dashboard();
  const counted = async () => {
    const { total_connections, nodes } = (await other.call("/stats")).body.cluster;
    return [total_connections, nodes.length];
  };
  await expect.poll(counted).toEqual([2, 2]);
  holder.freeze();
  await expect.poll(counted).toEqual([0, 1]);
  holder.thaw();
  await expect.poll(counted).toEqual([2, 2]);
});

const idIn = (payload: Uint8Array): string => JSON.parse(String(payload)).id;
const urlOf = ({ port }: TestBridge) => `ws://127.0.0.1:${port}/ws`;
