import { afterAll, beforeAll, expect, it } from "vitest";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { type BrokerUnderTest, inboxOf, topic } from "../broker-under-test.ts";
import { type Nodes, nodes } from "../redis-nodes.ts";

const NODES = 3;
const MESSAGES_PER_NODE = 20;
const retained = { qos: 1, retain: true } as const;

let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

/** Each node gets the messages of another client at the same moment, each to a topic of its own. */
async function publishAtAll(brokers: readonly BrokerUnderTest[], below: string): Promise<void> {
  const clients = await Promise.all(
    brokers.map((each, index) => each.client({ username: `u${index}`, password: each.token(["admin"]) })),
  );
  await Promise.all(
    clients.flatMap((client, node) =>
      Array.from({ length: MESSAGES_PER_NODE }, (_, n) => client.publishAsync(`${below}/${node}-${n}`, "x", retained)),
    ),
  );
}

/** The topics of the retained messages that a new subscriber gets. */
async function retainedAt(node: BrokerUnderTest, filter: string, count: number): Promise<string[]> {
  const reader = await node.client({ username: "r", password: node.token(["admin"]) });
  const inbox = inboxOf(reader);
  await reader.subscribeAsync(filter, { qos: 1 });
  const messages = await inbox.has(count);
  await reader.endAsync();
  return messages.map((message) => message.topic).sort();
}

async function startNodes(on: Nodes, env: Record<string, string>): Promise<BrokerUnderTest[]> {
  const started = [];
  while (started.length < NODES) started.push(await on.start(env));
  return started;
}

it.each([
  ["MAX_RETAINED_MESSAGES_PER_DEVICE", topic("cameras/north/state")],
  ["MAX_RETAINED_MESSAGES", "house/light"],
])(
  "%s holds exactly while several nodes get messages at the same moment, and all messages are delivered",
  async (limit, below) => {
    const on = await nodes({ on: redis });
    const brokers = await startNodes(on, { [limit]: "10" });
    const [first] = brokers;
    if (first === undefined) throw new Error("no node was started");
    const live = await first.client({ username: "l", password: first.token(["admin"]) });
    const inbox = inboxOf(live);
    await live.subscribeAsync(`${below}/#`, { qos: 1 });
    await publishAtAll(brokers, below);
    await inbox.has(NODES * MESSAGES_PER_NODE);
    const kept = await Promise.all(brokers.map((each) => retainedAt(each, `${below}/#`, 10)));
    expect(await on.redis.hlen(`${on.prefix}retained`)).toBe(10);
    expect(kept).toEqual([kept[0], kept[0], kept[0]]);
    const refused = brokers.reduce((sum, { broker }) => sum + broker.stats().refusedRetained, 0);
    expect(refused).toBe(NODES * MESSAGES_PER_NODE - 10);
  },
);

it("nodes count the retained messages that a version before has stored", async () => {
  const on = await nodes({ on: redis });
  const brokers = await startNodes(on, { MAX_RETAINED_MESSAGES_PER_DEVICE: "10" });
  const [first] = brokers;
  if (first === undefined) throw new Error("no node was started");
  const client = await first.client({ username: "u", password: first.token(["admin"]) });
  for (const name of ["a", "b", "c", "d", "e"])
    await client.publishAsync(topic(`cameras/north/state/${name}`), "x", retained);
  // Versions before have no index of topics.
  expect(await on.redis.del(`${on.prefix}retained-topics`)).toBe(1);
  await publishAtAll(brokers, topic("cameras/north/state"));
  expect(await on.redis.hlen(`${on.prefix}retained`)).toBe(10);
});
