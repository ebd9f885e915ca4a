import { fileURLToPath } from "node:url";
import pino from "pino";
import { afterAll, beforeAll } from "vitest";
import { openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { keepSessionsIn } from "../broker-under-test.ts";

// A broker gives a client the same guarantees with Redis as with LevelDB, so the same tests run with Redis.

let server: RedisServer;
const opened: RedisConnections[] = [];

beforeAll(async () => {
  server = await startRedis();
  keepSessionsIn((dataPath) => {
    const prefix = dataPath.replaceAll(/[^A-Za-z0-9]/g, "-").slice(-64);
    const redis = openRedis({ url: server.url, prefix, logger: pino({ level: "silent" }) });
    opened.push(redis);
    return redis;
  });
});

afterAll(async () => {
  keepSessionsIn();
  await Promise.all(opened.map((redis) => redis.close()));
  await server.remove();
});

const FILES = [
  ...["sessions/sessions", "access/names", "access/ended-identities", "conformance", "backend-link"],
  ...["sessions/retained-order", "sessions/suback", "sessions/share"],
];
// With a query, because a module runs only once in a process: these files may have run in this one before.
for (const file of FILES) {
  const path = fileURLToPath(new URL(`../${file}.test.ts`, import.meta.url));
  await import(/* @vite-ignore */ `${path}?redis`);
}
