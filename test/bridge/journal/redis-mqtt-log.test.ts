import { afterAll, beforeAll } from "vitest";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { describeMqttLog } from "./mqtt-log-suite.ts";
import { createRedisPlace } from "./redis-place.ts";

let server: RedisServer;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

describeMqttLog("the log for MQTT sessions in Redis", async () => {
  const place = await createRedisPlace(server.url);
  return { ...place, open: () => place.open({ keepsMqttLog: true }) };
});
