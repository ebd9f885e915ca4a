import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { freePort } from "../../support/ports.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { describeCluster } from "./cluster-suite.ts";
import { redisPlace } from "./redis-place.ts";

const SLOTS = 16_384;

describe("with a Redis Cluster", () => {
  let server: RedisServer;
  beforeAll(async () => {
    const port = String(await freePort());
    const args = ["--cluster-enabled", "yes", "--cluster-port", port, "--cluster-announce-ip", "127.0.0.1"];
    server = await startRedis({ args });
    const node = new Redis(server.url);
    await node.cluster(
      "ADDSLOTS",
      Array.from({ length: SLOTS }, (_, slot) => slot),
    );
    await vi.waitFor(async () => expect(await node.cluster("INFO")).toContain("cluster_state:ok"));
    node.disconnect();
  });
  afterAll(() => server.remove());

  const place = () => redisPlace({ url: `redis+cluster://127.0.0.1:${server.port}` });

  describeCluster("the cluster in Redis", async () => place());

  test("nodes hear each other, and recover by themselves after the Redis Cluster was killed and started again", async () => {
    const own = place();
    try {
      const fast = { heartbeatMs: 200, commandTimeoutMs: 500 };
      const [here, there] = [await own.open(fast), await own.open(fast)];
      const heard = vi.fn();
      there.signals.on("n", heard);
      here.signals.send("n", 1);
      await vi.waitFor(() => expect(heard).toHaveBeenCalledWith(1, here.nodeId));
      await here.connections.enter("alice", "1", 1);
      await server.stop("SIGKILL");
      await vi.waitFor(() => expect([here.unavailableReason, there.unavailableReason]).not.toContain(undefined));
      await server.start();
      await vi.waitFor(() => expect([here.unavailableReason, there.unavailableReason]).toEqual([undefined, undefined]));
      expect(await there.connections.enter("alice", "2", 1)).toBeUndefined();
      await vi.waitFor(() => {
        here.signals.send("n", 2);
        expect(heard).toHaveBeenCalledWith(2, here.nodeId);
      });
    } finally {
      await own.dispose();
    }
  });
});
