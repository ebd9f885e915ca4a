import { afterAll, beforeAll, describe } from "vitest";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { describeCluster } from "./cluster-suite.ts";
import { redisPlace } from "./redis-place.ts";

describe("with a real Redis", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.remove());

  describeCluster("the cluster in Redis", async () => redisPlace(redis));
});
