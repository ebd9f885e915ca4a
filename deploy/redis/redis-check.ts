import { setTimeout as after } from "node:timers/promises";
import { Cluster, type Redis } from "ioredis";
import type { Logger } from "pino";
import type { RedisAccess } from "./redis.ts";

/** The oldest Redis with `XADD NOMKSTREAM`, `XTRIM MINID`, `ZRANGE BYSCORE` and all other commands of this program. */
export const MIN_REDIS_VERSION = "6.2";

export const START_TIMEOUT_MS = 15_000;

const NO_ANSWER = "no answer";
/** Messages of ioredis for a command that failed only because there is no connection. */
const CONSEQUENCE = /max retries|Connection is closed|Command timed out|isn't writeable/i;

/** The Redis at `REDIS_URL` cannot be used. The message says why and what to do. */
export class RedisUnusableError extends Error {
  override name = "RedisUnusableError";
}

interface InspectRedisOptions {
  redis: RedisAccess;
  /** The timeout for the first answer of Redis. Default {@link START_TIMEOUT_MS}. */
  timeoutMs?: number;
}

/**
 * Checks Redis and logs a warning for each setting of Redis that may lose data.
 * @throws {RedisUnusableError} not reachable, no access, or older than {@link MIN_REDIS_VERSION}
 */
export async function checkRedis({ logger, ...options }: InspectRedisOptions & { logger: Logger }): Promise<void> {
  for (const warning of (await inspectRedis(options)).warnings) logger.warn(warning);
}

/**
 * @returns the oldest version of all masters, and a warning with advice for each setting that may lose data
 * @throws {RedisUnusableError} as {@link checkRedis}
 */
export async function inspectRedis({ redis, timeoutMs = START_TIMEOUT_MS }: InspectRedisOptions) {
  const connection = redis.connect("check");
  const warnings = new Set<string>();
  let oldest: string | undefined;
  try {
    for (const facts of await readFacts(connection, timeoutMs)) {
      const version = facts.get("redis_version") ?? "0";
      if (isOlder(version, MIN_REDIS_VERSION))
        throw new RedisUnusableError(
          `REDIS_URL: Redis ${version} is too old: upgrade it to ${MIN_REDIS_VERSION} or newer`,
        );
      if (oldest === undefined || isOlder(version, oldest)) oldest = version;
      const policy = facts.get("maxmemory_policy");
      if (policy !== undefined && policy !== "noeviction")
        warnings.add(
          `redis may evict acknowledged events when its memory is full (${policy}): set maxmemory-policy noeviction`,
        );
      if (facts.get("aof_enabled") === "0")
        warnings.add("redis has no append-only file, so its restart loses acknowledged events: set appendonly yes");
    }
  } finally {
    connection.disconnect();
  }
  return { version: oldest ?? "unknown", warnings: [...warnings] };
}

/** The answer of each master to `INFO`. Hosted services forbid `CONFIG GET`. */
async function readFacts(connection: Redis | Cluster, timeoutMs: number): Promise<Map<string, string>[]> {
  const deadline = Date.now() + timeoutMs;
  let reason = NO_ANSWER;
  connection.on("error", (error: unknown) => {
    reason = reasonOf(error);
  });
  while (Date.now() < deadline) {
    try {
      const left = new AbortController();
      const timeout = after(Math.max(1, deadline - Date.now()), undefined, { signal: left.signal });
      const info = await Promise.race([readInfo(connection), timeout]).finally(() => left.abort());
      if (info !== undefined) return info;
    } catch (error) {
      const why = reasonOf(error);
      // Keep the reason why the connection was lost: a failed command is only a consequence of the lost connection.
      if (reason === NO_ANSWER || !CONSEQUENCE.test(why)) reason = why;
      if (/^(NOAUTH|WRONGPASS|NOPERM|ERR AUTH)/.test(reason)) break;
      await after(100);
    }
  }
  throw new RedisUnusableError(
    `REDIS_URL: Redis cannot be used (${reason}): start it, or correct its address or password`,
  );
}

async function readInfo(connection: Redis | Cluster): Promise<Map<string, string>[]> {
  if (!(connection instanceof Cluster)) return [factsOf(await connection.info())];
  // A cluster client knows its nodes only after the first answer.
  await connection.ping();
  return await Promise.all(connection.nodes("master").map(async (node) => factsOf(await node.info())));
}

function factsOf(info: string): Map<string, string> {
  const facts = new Map<string, string>();
  for (const line of info.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) facts.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return facts;
}

function isOlder(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split(".").map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message || error.name : String(error);
}
