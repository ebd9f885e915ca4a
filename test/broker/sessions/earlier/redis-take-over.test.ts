import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { type RedisServer, startRedis } from "../../../support/redis.ts";
import { type BrokerUnderTest, topic } from "../../broker-under-test.ts";
import { idPacket, rawSession, TYPE } from "../../raw-client.ts";
import { type Nodes, nodes } from "../../redis-nodes.ts";

// `redis-data.json` was made by the version before the log: three sessions of alice (`one` at QoS 1, `two` and `raw` at
// QoS 2) and one of the camera, which published a retained message and five events, and had a will. The client of `raw`
// had answered the retained message with PUBREC, and nothing else.

const EVENTS = [0, 1, 2, 3, 4].map((i) => JSON.stringify({ i }));
const TEXTS = ["about", ...EVENTS];

let server: RedisServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

const dataSchema = z.record(z.string(), z.object({ type: z.string(), fields: z.array(z.string()) }));

/** Writes the data of the version before. */
async function earlierData({ redis, prefix }: Nodes): Promise<string> {
  const before = prefix.replace(/journal:$/, "mqtt:");
  const file = new URL("redis-data.json", import.meta.url);
  for (const [name, { type, fields }] of Object.entries(dataSchema.parse(JSON.parse(readFileSync(file, "utf8"))))) {
    if (type === "hash") await redis.hset(before + name, ...fields.map((field) => Buffer.from(field, "base64")));
    else if (type === "string") await redis.set(before + name, fields[0] ?? "");
    else
      for (let at = 0; at < fields.length; at += 2)
        await redis.zadd(before + name, fields[at + 1] ?? "", fields[at] ?? "");
  }
  return before;
}

function viewer(node: BrokerUnderTest, clientId: string) {
  return { username: "v", password: node.token(["dashboard:read"]), clientId, clean: false };
}

it("sessions, queues, retained messages and wills are taken over once, although two nodes start", async () => {
  const cluster = await nodes({ on: server });
  const before = await earlierData(cluster);
  const env = { MQTT_HEARTBEAT_MS: "100" };
  const [a, b] = await Promise.all([cluster.start(env), cluster.start(env)]);
  const left = await cluster.redis.keys(`${before}*`);
  // These expire within a day.
  expect(left.filter((key) => !key.startsWith(`${before}sender:`))).toEqual([]);
  const took = [...a.log, ...b.log].filter(({ msg }) => msg.includes("took over"));
  expect(took).toMatchObject([{ sessions: 4, queued: 6, retained: 1, wills: 1 }]);
  expect([a, b].map(({ broker }) => broker.stats().sessions)).toEqual([4, 4]);

  const one = await a.join(viewer(a, "one"));
  await one.inbox.has(6);
  expect(one.inbox.messages.slice(0, 6).map(({ payload, qos }) => [payload, qos])).toEqual(TEXTS.map((it) => [it, 1]));
  await one.client.subscribeAsync(topic("cameras/north/about"), { qos: 1 });
  await expect.poll(() => one.inbox.messages.some(({ payload, retain }) => payload === "about" && retain)).toBe(true);

  const raw = await rawSession(b.broker.ports.mqtt, viewer(b, "raw"));
  // The ids by which the version before has sent the messages.
  const released = (await raw.next(TYPE.pubrel)).readUInt16BE(0);
  raw.send(idPacket(TYPE.pubcomp, released));
  const ids: number[] = [];
  for (const text of EVENTS) {
    const sent = await raw.next(TYPE.publish);
    const at = 2 + sent.readUInt16BE(0);
    ids.push(sent.readUInt16BE(at));
    expect(sent.subarray(at + 2).toString()).toBe(text);
  }
  expect(ids).toEqual([1, 2, 3, 4, 5].map((distance) => released + distance));

  const published = () => [...a.ingest.accepted, ...b.ingest.accepted].map(({ payload }) => payload.toString());
  await expect.poll(published).toEqual(["gone"]);
});

it("a node of the version before that still runs keeps this version from starting", async () => {
  const cluster = await nodes({ on: server });
  const before = await earlierData(cluster);
  await cluster.redis.zadd(`${before}nodes`, Date.now(), "b0001795988108922");
  await expect(cluster.start()).rejects.toThrow(/1 nodes of an earlier version use this Redis: stop all of them/);
  expect(await cluster.redis.exists(`${before}owners`)).toBe(1);
});
