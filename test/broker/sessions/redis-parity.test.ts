import pino from "pino";
import { afterAll, beforeAll } from "vitest";
import { openRedis, type RedisAccess } from "../../../deploy/redis/redis.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { keepSessionsIn } from "../broker-under-test.ts";

// A broker gives a client the same guarantees with Redis as with LevelDB, so the same tests run with Redis.

let server: RedisServer;
const opened: RedisAccess[] = [];

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
  await Promise.all(opened.map((redis) => redis.close()));
  await server.remove();
});

await import("./sessions.test.ts");
await import("../access/names.test.ts");
await import("../access/ended-identities.test.ts");
await import("../conformance.test.ts");
await import("../backend-link.test.ts");
await import("./retained-order.test.ts");
await import("./suback.test.ts");
