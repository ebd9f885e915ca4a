import { once } from "node:events";
import { Redis } from "ioredis";
import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startRedis } from "../../support/redis.ts";
import { openJournalNode } from "../../support/redis-journal.ts";
import { from, message } from "./messages.ts";

it("with REDIS_WAIT_REPLICAS, neither an append nor its repetition is acknowledged before a replica has the event", async () => {
  const master = await startRedis();
  onTestFinished(() => master.remove());
  const replica = await startRedis({ args: ["--replicaof", "127.0.0.1", String(master.port)] });
  onTestFinished(() => replica.remove());
  const logger = pino({ level: "silent" });
  const redis = openRedis({ url: master.url, prefix: "replicas", waitReplicas: 1, logger });
  onTestFinished(() => redis.close());
  await expect.poll(() => redis.commands.replicated().then(() => "replicated", String)).toBe("replicated");
  await expect.poll(() => redis.unavailableReason).toBeUndefined();
  const retention = { retentionEvents: 100, retentionHours: 1 };
  const journal = await openJournalNode({ redis, logger, ...retention, waits: { deadAfterMs: 60_000 } });
  onTestFinished(() => journal.close());
  const event = message(from("device:north", "s", 1));

  replica.process.kill("SIGSTOP");
  await expect(journal.append(event)).rejects.toThrow(/fewer replicas confirm writes than REDIS_WAIT_REPLICAS/);
  expect(journal.unavailableReason).toMatch(/REDIS_WAIT_REPLICAS/);
  await expect(journal.append(event)).rejects.toThrow(/REDIS_WAIT_REPLICAS/);
  replica.process.kill("SIGCONT");
  await expect.poll(() => journal.unavailableReason).toBeUndefined();
  expect(await journal.append(event)).toEqual({ position: undefined, duplicate: true });

  // What is acknowledged is at the replica at that moment.
  const { position } = await journal.append(message(from("device:north", "s", 2)));
  master.process.kill("SIGKILL");
  await once(master.process, "exit");
  const reader = new Redis(replica.url);
  onTestFinished(async () => reader.disconnect());
  expect(await reader.hget("{replicas}:journal:meta", "head")).toBe(String(position));
});
