import { expect, it, onTestFinished } from "vitest";
import { freePort } from "../../support/ports.ts";
import { startRedis } from "../../support/redis.ts";
import { inboxOf, NORTH, topic } from "../broker-under-test.ts";
import { nodes } from "../redis-nodes.ts";

const EVENT = topic("cameras/north/events/capture.completed");

it("brokers work on a Redis Cluster, with all keys in one slot", async () => {
  const server = await startRedis({
    args: [
      "--cluster-enabled",
      "yes",
      "--cluster-port",
      String(await freePort()),
      "--cluster-announce-ip",
      "127.0.0.1",
    ],
  });
  onTestFinished(() => server.remove());
  const cluster = await nodes({ on: server, cluster: true });
  await cluster.redis.cluster("ADDSLOTS", ...Array.from({ length: 16_384 }, (_, slot) => slot));
  await expect.poll(() => cluster.redis.cluster("INFO")).toContain("cluster_state:ok");

  const [a, b] = await Promise.all([cluster.start(), cluster.start()]);
  const archive = (node: typeof a) => ({
    ...{ username: "archive", password: node.token(["dashboard:read"]) },
    ...{ clientId: "archive", clean: false },
  });
  const first = await a.client(archive(a));
  await first.subscribeAsync(topic("cameras/#"), { qos: 1 });
  await first.endAsync();
  const live = await b.client({ username: "v", password: b.token(["dashboard:read"]) });
  const inbox = inboxOf(live);
  await live.subscribeAsync(topic("cameras/#"), { qos: 1 });
  const will = { topic: topic("cameras/north/link"), payload: Buffer.from("gone"), qos: 1 as const, retain: true };
  const camera = await a.client({ ...NORTH, clientId: "north", clean: false, will });
  await camera.publishAsync(EVENT, "unretained", { qos: 2 });
  await camera.publishAsync(topic("cameras/north/about"), "retained", { qos: 1, retain: true });
  await inbox.has(2);
  await camera.publishAsync(EVENT, "at most once", { qos: 0 });
  await inbox.has(3);

  const keys = await cluster.keys();
  const slots = await Promise.all(keys.map((key) => cluster.redis.cluster("KEYSLOT", key)));
  expect(new Set(slots).size).toBe(1);
  camera.stream.destroy();
  const back = await b.join(archive(b));
  expect((await back.inbox.has(3)).map(({ payload }) => payload)).toEqual(["unretained", "retained", "gone"]);
});
