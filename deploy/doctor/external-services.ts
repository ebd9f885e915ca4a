import { pino } from "pino";
import { z } from "zod";
import { reasonOf } from "../../platform/error-reason.ts";
import { openRedis } from "../../platform/redis/connections.ts";
import { inspectRedis, RedisUnusableError } from "../../platform/redis/redis-check.ts";
import { describePlace } from "../../platform/redis/redis-url.ts";
import { type Finding, ok, warn, wrong } from "./finding.ts";

const TIMEOUT_MS = 5_000;
/** Long enough for a Redis that is starting. */
const REDIS_TIMEOUT_MS = 3_000;

const keySetSchema = z.object({ keys: z.array(z.object({ kty: z.string() })) });

export async function checkRedisStore(store: {
  url: string;
  prefix: string;
  waitReplicas?: number;
}): Promise<Finding[]> {
  const redis = openRedis({ ...store, logger: pino({ level: "silent" }) });
  try {
    const { version, warnings } = await inspectRedis({ redis, timeoutMs: REDIS_TIMEOUT_MS, waitsForLoading: false });
    return [
      ok("REDIS_URL", `Redis ${version} at ${describePlace(redis.place)}`),
      ...warnings.map((text) => warn("REDIS_URL", text)),
    ];
  } catch (error) {
    if (!(error instanceof RedisUnusableError)) throw error;
    return [wrong("REDIS_URL", error.message.replace(/^REDIS_URL: /, ""))];
  } finally {
    await redis.close();
  }
}

/** Checks that the identity provider publishes its keys. */
export async function checkKeySet(url: string): Promise<Finding> {
  const advice = "correct JWKS_URL, or give this machine access to it";
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) return wrong("JWKS_URL", `${url} answers ${answer.status}: ${advice}`);
    const read = keySetSchema.safeParse(await answer.json());
    if (!read.success) return wrong("JWKS_URL", `the answer of ${url} is not a JSON Web Key Set: ${advice}`);
    const { length } = read.data.keys;
    return length === 0
      ? wrong("JWKS_URL", `there are no keys at ${url}, so no token of the provider is valid: add keys at the provider`)
      : ok("JWKS_URL", `${length} ${length === 1 ? "key" : "keys"} at ${url}`);
  } catch (error) {
    return wrong("JWKS_URL", `${url} cannot be read (${reasonOf(error)}): ${advice}`);
  }
}
