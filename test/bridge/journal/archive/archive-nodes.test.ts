import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { openRedisCluster } from "../../../../bridge/cluster/redis/redis.ts";
import { startArchive } from "../../../../bridge/journal/archive/archive.ts";
import { startRedis } from "../../../support/redis.ts";
import { logger } from "../../cameras/watcher-fixture.ts";
import { message, range } from "../messages.ts";
import { createRedisPlace } from "../redis-place.ts";
import { createPostgres } from "./archive-places.ts";

const DIST = new URL("../../../../dist/", import.meta.url);
const LEASE_MS = 1_000;

/** A node with a journal in Redis and the archive. The node is a process of its own, so that the test can kill it. */
const NODE = `
  const [url, prefix, databaseUrl] = process.argv.slice(1);
  const { openRedis } = await import("${new URL("platform/redis/connections.js", DIST)}");
  const { openRedisCluster } = await import("${new URL("bridge/cluster/redis/redis.js", DIST)}");
  const { openRedisJournal } = await import("${new URL("bridge/journal/stores/redis/redis.js", DIST)}");
  const { startArchive } = await import("${new URL("bridge/journal/archive/archive.js", DIST)}");
  const { pino } = await import("pino");
  const logger = pino({ level: "silent" });
  const redis = openRedis({ url, prefix, logger });
  const { leases, membership } = await openRedisCluster({ redis, logger, leaseMs: ${LEASE_MS} });
  const journal = await openRedisJournal({ redis, logger, membership, retentionEvents: 20, retentionHours: 24 });
  const config = { isOn: true, databaseUrl, maxLagEvents: 100_000, retentionDays: {} };
  startArchive({ config, dataPath: "", topicRoot: "skylapse/v1", journal, leases, logger });
  setInterval(() => {}, 1_000);
`;

test("one of several nodes fills the archive; when this node is killed, another node continues without a gap or a repetition", async () => {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  const postgres = await createPostgres();
  onTestFinished(() => postgres.remove());
  const redis = await createRedisPlace(server.url);
  onTestFinished(() => redis.dispose());
  const databaseUrl = "url" in postgres.place ? postgres.place.url : undefined;
  const journal = await redis.openNode({ retentionEvents: 20 });
  const positions = async () =>
    (await postgres.rows("select position from archive_events order by id")).map(({ position }) => Number(position));

  const prefix = redis.prefix.replace(/[{}:]/g, "");
  const args = ["--input-type=module", "-e", NODE, server.url, prefix, databaseUrl ?? ""];
  const killed = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  const exited = once(killed, "exit");
  onTestFinished(() => void killed.kill("SIGKILL"));
  await journal.append(message());
  await expect.poll(() => positions().catch(() => [])).toEqual([1]);

  const cluster = await openRedisCluster({ redis: redis.redis, logger, leaseMs: LEASE_MS });
  onTestFinished(() => cluster.stop());
  const archive = startArchive({
    config: { isOn: true, databaseUrl, maxLagEvents: 100_000, retentionDays: {} },
    ...{ dataPath: "", topicRoot: "skylapse/v1", journal, leases: cluster.leases, logger },
    workerFile: new URL("bridge/journal/archive/worker.js", DIST),
  });
  onTestFinished(() => archive.stop());

  let isLoaded = true;
  const load = (async () => {
    while (isLoaded) {
      await Promise.all(range(1, 20).map(() => journal.append(message())));
      await journal.trim();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  await expect.poll(async () => (await positions()).length).toBeGreaterThan(300);
  expect(archive.status()).toMatchObject({ isFilling: false });
  killed.kill("SIGKILL");
  await exited;
  await expect.poll(() => archive.status()?.isFilling, { interval: 50 }).toBe(true);
  isLoaded = false;
  await load;
  await expect.poll(() => archive.status()).toMatchObject({ behind: 0, unavailableReason: undefined });
  expect(await positions()).toEqual(range(1, journal.head));
  expect(await postgres.rows("select * from archive_gaps")).toEqual([]);
});
