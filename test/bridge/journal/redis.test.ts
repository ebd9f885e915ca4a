import { afterAll, beforeAll } from "vitest";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { describeJournal } from "./journal-suite.ts";
import { createRedisPlace } from "./redis-place.ts";

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

describeJournal("the journal in Redis", () => createRedisPlace(server.url));

// The same tests without recent entries in memory: every replay reads Redis.
describeJournal("the journal in Redis, without recent entries in memory", async () => {
  const place = await createRedisPlace(server.url);
  return { ...place, open: (options) => place.open({ ...options, limits: { ...options?.limits, maxRecentChars: 0 } }) };
});
