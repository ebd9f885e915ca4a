import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { counted } from "../counted.ts";
import { messageOf } from "../errors.ts";
import type { RedisConnections } from "./connections.ts";
import type { RedisServerInfo } from "./server-info.ts";

/** The oldest Redis with `XADD NOMKSTREAM`, `XTRIM MINID`, `ZRANGE BYSCORE` and all other commands of this program. */
export const MIN_REDIS_VERSION = "6.2";

export const START_TIMEOUT_MS = 15_000;
const REPLICAS_CHECK_MS = 100;

const NO_ACCESS = /^(NOAUTH|WRONGPASS|NOPERM|ERR AUTH)/;

/** The Redis at `REDIS_URL` cannot be used. The message says why and what to do. */
export class RedisUnusableError extends Error {
  override name = "RedisUnusableError";
}

interface InspectRedisOptions {
  redis: RedisConnections;
  /** The timeout for the first answer of Redis. Default {@link START_TIMEOUT_MS}. */
  timeoutMs?: number;
  /** Whether to wait until Redis has loaded its data, however long that takes. Default true. */
  waitsForLoading?: boolean;
}

/**
 * Checks Redis and logs a warning for each setting of Redis that may lose data. Waits for the replicas that must have each
 * write.
 * @throws {RedisUnusableError} not reachable, no access, older than {@link MIN_REDIS_VERSION}, or too few replicas
 */
export async function checkRedis({ logger, ...options }: InspectRedisOptions & { logger: Logger }): Promise<void> {
  for (const warning of (await inspectRedis(options)).warnings) logger.warn(warning);
  await waitForReplicas(options);
}

/** @throws {RedisUnusableError} */
async function waitForReplicas({ redis, timeoutMs = START_TIMEOUT_MS }: InspectRedisOptions): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      await redis.commands.replicated();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw new RedisUnusableError(`REDIS_URL: ${messageOf(error)}`);
      await after(REPLICAS_CHECK_MS);
    }
  }
}

/**
 * @returns the version, and a warning with advice for each setting that may lose data
 * @throws {RedisUnusableError} as {@link checkRedis}
 */
export async function inspectRedis(options: InspectRedisOptions) {
  const { redis } = options;
  const info = await readInfo(options);
  const { version } = info;
  if (isOlder(version, MIN_REDIS_VERSION))
    throw new RedisUnusableError(`REDIS_URL: Redis ${version} is too old: upgrade it to ${MIN_REDIS_VERSION} or newer`);
  return { version, warnings: warningsOf(info, redis) };
}

function warningsOf({ facts }: RedisServerInfo, { place, waitReplicas }: RedisConnections): string[] {
  const warnings: string[] = [];
  const policy = facts.get("maxmemory_policy");
  if (policy !== undefined && policy !== "noeviction")
    warnings.push(
      `redis may evict acknowledged events when its memory is full (${policy}): set maxmemory-policy noeviction`,
    );
  if (facts.get("aof_enabled") === "0")
    warnings.push("redis has no append-only file, so its restart loses acknowledged events: set appendonly yes");
  const replicas = Number(facts.get("connected_slaves") ?? 0);
  const hasFailover = place.kind !== "single" || replicas > 0;
  // Redis mentions the healthy replicas only if some are demanded.
  if (hasFailover && waitReplicas === 0 && !facts.has("min_slaves_good_slaves"))
    warnings.push(
      "redis acknowledges events that no replica has, and a failover loses them, above all when a master that was cut off " +
        "goes on: set REDIS_WAIT_REPLICAS=1, or in Redis min-replicas-to-write 1 and min-replicas-max-lag 10",
    );
  if (waitReplicas > replicas)
    warnings.push(
      `${counted(replicas, "replica follows", "replicas follow")} the redis master, but REDIS_WAIT_REPLICAS is ${waitReplicas}: nothing is acknowledged`,
    );
  if (place.kind !== "single" && replicas === 0)
    warnings.push("no replica follows the redis master, so nothing can replace it when it fails: add a replica");
  return warnings;
}

/** @throws {RedisUnusableError} */
async function readInfo({
  redis,
  timeoutMs = START_TIMEOUT_MS,
  waitsForLoading = true,
}: InspectRedisOptions): Promise<RedisServerInfo> {
  const fatal = waitsForLoading ? NO_ACCESS : new RegExp(`${NO_ACCESS.source}|^LOADING`);
  try {
    await redis.commands.ready(timeoutMs, (error) => fatal.test(reasonOf(error)));
    return await redis.info();
  } catch (error) {
    const { lastError } = redis.commands;
    const reason = lastError === undefined ? messageOf(error) : reasonOf(lastError);
    throw new RedisUnusableError(
      `REDIS_URL: Redis cannot be used (${reason}): start it, or correct its address or password`,
    );
  }
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
