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

// The same again with nothing held in memory, so that every replay reads Redis.
describeJournal("the journal in Redis, read from there", async () => {
  const place = await createRedisPlace(server.url);
  return { ...place, open: (options) => place.open({ ...options, limits: { ...options?.limits, maxRecentChars: 0 } }) };
});
