import { randomBytes } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import { messageOf } from "../../../platform/errors.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import { StoreUnusableError } from "../../../platform/level/errors.ts";
import type { MqttLog } from "../../../platform/publication-log.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { EarlierRedisStore } from "./earlier-redis-store.ts";
import { TakeOver } from "./take-over.ts";

/** A node of the version before wrote a heartbeat at least this often. */
const HEARTBEAT_VALID_MS = 15_000;
/** A node that ends during the take-over loses the lock after this time. */
const LOCK_MS = 30_000;
const WAIT_MS = 200;
/** Keys that are removed at once. */
const KEYS_PER_CALL = 500;

interface RedisTakeOverOptions {
  redis: RedisConnections;
  log: MqttLog;
  onDamage?: OnDamage | undefined;
  logger: Logger;
}

/**
 * Takes over the sessions, queues, retained messages and wills that a version before the log kept in Redis, once. One
 * node does this, and the others wait. Call this before the broker starts.
 * @throws {StoreUnusableError} nothing is lost; the message says what to do
 */
export async function takeOverEarlierRedisSessions(options: RedisTakeOverOptions): Promise<void> {
  const { redis: connections } = options;
  const prefix = `${connections.prefix}mqtt:`;
  const redis = connections.connect("mqtt-earlier");
  const token = randomBytes(9).toString("base64url");
  let renewal: NodeJS.Timeout | undefined;
  try {
    // The key that is removed last.
    while ((await redis.exists(`${prefix}boot`)) === 1) {
      await assertStopped(redis, prefix);
      if ((await redis.set(`${prefix}take-over`, token, "PX", LOCK_MS, "NX")) === null) {
        await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
        continue;
      }
      renewal = setInterval(() => void redis.pexpire(`${prefix}take-over`, LOCK_MS).catch(() => {}), LOCK_MS / 3);
      await takeOver(redis, prefix, options);
    }
  } catch (error) {
    if (error instanceof StoreUnusableError) throw error;
    const what = `MQTT sessions and messages of the earlier version in Redis cannot be taken over: ${messageOf(error)}`;
    throw new StoreUnusableError(`${what}. Nothing is lost: start again when this is mended`, { cause: error });
  } finally {
    clearInterval(renewal);
    redis.disconnect();
  }
}

async function assertStopped(redis: Redis | Cluster, prefix: string): Promise<void> {
  const [seconds] = await redis.time();
  const living = await redis.zcount(`${prefix}nodes`, Number(seconds) * 1000 - HEARTBEAT_VALID_MS, "+inf");
  if (living === 0) return;
  throw new StoreUnusableError(
    `${living} nodes of an earlier version use this Redis: stop all of them, wait 15 s, and start this version again`,
  );
}

async function takeOver(
  redis: Redis | Cluster,
  prefix: string,
  { log, onDamage, logger }: RedisTakeOverOptions,
): Promise<void> {
  const { earlier } = log;
  if (earlier === undefined) throw new Error("the journal cannot take over sessions");
  const rows: [string, string][] = [];
  // No node is the writer of these rows: nothing but this function may write them yet.
  const direct = {
    set: (key: string, value: string | undefined) => void rows.push([key, value ?? ""]),
    flush: () => earlier.put({ rows: rows.splice(0) }),
  };
  const taken = { publications: log.publications, append: log.append.bind(log), rows: direct };
  const store = new EarlierRedisStore(redis, prefix);
  const isCommand = () => false;
  await new TakeOver({ path: `redis ${prefix}`, log: taken, isCommand, onDamage, logger }, earlier, store).run(0);
  await removeAll(redis, prefix);
}

/** Removes the keys of the earlier version, first those of the sessions. Its keys `sender:…` expire within a day. */
async function removeAll(redis: Redis | Cluster, prefix: string): Promise<void> {
  const sessions = await redis.hkeys(`${prefix}owners`);
  const keys = sessions.flatMap((key) => ["queue", "packets", "incoming"].map((kind) => `${prefix}${kind}:${key}`));
  for (const name of ["log", "seq", "changed", "totals", "filters", "seen", "retained", "wills", "nodes"])
    keys.push(prefix + name);
  for (let at = 0; at < keys.length; at += KEYS_PER_CALL) await redis.unlink(...keys.slice(at, at + KEYS_PER_CALL));
  await redis.unlink(`${prefix}owners`, `${prefix}boot`, `${prefix}take-over`);
}
