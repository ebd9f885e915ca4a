import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freePort } from "../../support/ports.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { from, message, positions, range, readAll, state } from "./messages.ts";
import { mqttOf, readLog } from "./mqtt-log-suite.ts";
import { createRedisPlace } from "./redis-place.ts";

const SLOTS = 16_384;

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis({
    args: [
      "--cluster-enabled",
      "yes",
      "--cluster-port",
      String(await freePort()),
      "--cluster-announce-ip",
      "127.0.0.1",
    ],
  });
  const node = new Redis(server.url);
  await node.cluster("ADDSLOTS", range(0, SLOTS - 1));
  await vi.waitFor(async () => expect(await node.cluster("INFO")).toContain("cluster_state:ok"));
  node.disconnect();
});
afterAll(() => server.remove());

test("the journal works in a Redis Cluster, with all keys in one slot", async () => {
  const place = await createRedisPlace(`redis+cluster://127.0.0.1:${server.port}`);
  try {
    const [one, other] = await Promise.all([
      place.openNode({ retentionEvents: 100 }),
      place.openNode({ retentionEvents: 100, limits: { maxRecentChars: 0 } }),
    ]);
    const publish = { payload: Buffer.from("p"), qos: 1 as const, retain: true };
    await Promise.all([
      ...range(1, 300).map((seq) => one.append(message({ ...from("device:north", "s", seq), publish }))),
      ...range(1, 49).map((n) => other.append(state(`c${n}`, "power"))),
      other.append({ ...state("c50", "power"), open: publish, incomingId: { session: "c", messageId: 1 } }),
    ]);
    await expect.poll(() => [one.head, other.head]).toEqual([350, 350]);
    expect(await one.append(message(from("device:north", "s", 7)))).toMatchObject({ duplicate: true });
    expect(await one.trim()).toBeGreaterThan(0);
    expect(positions(await readAll(other, ["dashboard"]))).toEqual(range(251, 350));
    expect(other.snapshot("dashboard")).toEqual(one.snapshot("dashboard"));
    const log = mqttOf(one).publications;
    expect(await readLog(log)).toMatchObject({ missing: [], read: { length: 300 } });
    expect((await log.retained([message().topic]))[0]?.position).toBe(
      Math.max(...positions((await readLog(log)).read)),
    );
    for (const node of [one, other]) mqttOf(node).publications.trim(40);
    await expect.poll(() => log.floor).toBe(40);
    await one.close();
    const late = await place.openNode();
    expect(late.head).toBe(350);
    expect(late.unavailableReason).toBeUndefined();
    const admin = new Redis(server.url);
    const keys = await admin.keys("*");
    for (const name of ["publications", "retained", "incoming:c", "publication-floors"])
      expect(keys).toContain(`${place.prefix}journal:${name}`);
    expect(keys.join()).toContain("journal:open:");
    const slots = new Set(await Promise.all(keys.map((key) => admin.cluster("KEYSLOT", key))));
    admin.disconnect();
    expect(slots.size).toBe(1);
  } finally {
    await place.dispose();
  }
});

test("the journal recovers by itself after the cluster was killed and restarted", async () => {
  const place = await createRedisPlace(`redis+cluster://127.0.0.1:${server.port}`);
  try {
    const journal = await place.open({ waits: { heartbeatMs: 50, blockMs: 50 } });
    await journal.append(message());
    await server.stop("SIGKILL");
    await expect.poll(() => journal.unavailableReason).toMatch(/Redis/);
    await expect(journal.append(message())).rejects.toMatchObject({ name: "StoreUnavailableError" });
    await server.start();
    await expect.poll(() => journal.unavailableReason).toBeUndefined();
    await journal.append(message());
    expect((await readAll(journal, ["dashboard"])).length).toBe(journal.head);
  } finally {
    await place.dispose();
  }
});
