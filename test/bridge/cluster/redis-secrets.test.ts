import { Writable } from "node:stream";
import { Redis } from "ioredis";
import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { logSerializers } from "../../../deploy/logger.ts";
import { startRedis } from "../../support/redis.ts";
import { redisPlace } from "./redis-place.ts";

const SECRET = "hash-of-the-password";

test("a document that Redis rejects is not in the log", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const place = redisPlace(redis);
  onTestFinished(() => place.dispose());
  let log = "";
  const stream = new Writable({
    write(line, _encoding, done) {
      log += line;
      done();
    },
  });
  const logger = pino({ level: "trace", serializers: logSerializers }, stream);
  const cluster = await place.open({ logger });
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  await admin.config("SET", "maxmemory", "1");
  const rejected = await cluster.documents.put("users", "alice", { hash: SECRET }).catch((error: Error) => error);
  expect(rejected).toBeInstanceOf(Error);
  expect(log).toContain("redis unavailable");
  logger.error({ err: rejected }, "written with its cause");
  // ioredis adds the rejected command to its own error.
  const reply = await admin.set("key", SECRET).catch((error: Error) => error);
  expect(JSON.stringify({ ...(reply as Error) })).toContain(SECRET);
  logger.error({ err: reply }, "written as it is");
  expect(log).toContain("OOM");
  expect(log).not.toContain(SECRET);
});
