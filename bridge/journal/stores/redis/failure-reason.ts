import { StoreUnavailableError } from "../../../../platform/errors.ts";

/** What Redis, or the lack of it, says; what that means, and what to do about it. */
const TROUBLES: readonly [said: RegExp, meaning: string][] = [
  [/^OOM|OOM command/, "Redis has used up its memory: raise maxmemory, or lower RETENTION_EVENTS"],
  [/READONLY/, "the Redis at REDIS_URL is a replica and takes no writes: a master is looked for"],
  [/MISCONF/, "Redis takes no writes because it cannot save to its disk: make room there, its log says more"],
  [/NOREPLICAS/, "Redis takes no writes because too few replicas follow it: see min-replicas-to-write"],
  [/LOADING/, "Redis is loading its data"],
  [/BUSY/, "Redis is busy with a script"],
  [/CLUSTERDOWN|ClusterAllFailed|Failed to refresh slots/, "the Redis Cluster is down: see CLUSTER INFO"],
  [/NOAUTH|WRONGPASS|NOPERM/, "Redis refuses access: correct the user and the password in REDIS_URL"],
  [/timed out/i, "Redis does not answer: it hangs, or the network does"],
  [
    /writeable|Connection is closed|ECONN|EPIPE|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN|max retries|connection close|aborted|ended/i,
    "Redis cannot be reached: start it, or look at the network",
  ],
];

/** Why the journal cannot be written, in words for an operator. */
export function redisFailureReason(error: unknown): string {
  const text =
    error instanceof Error ? `${error.name === "Error" ? "" : `${error.name} `}${error.message}` : `${error}`;
  const [, meaning] = TROUBLES.find(([said]) => said.test(text)) ?? [];
  return meaning === undefined ? `Redis refuses: ${text}` : `${meaning}; the journal goes on by itself`;
}

export function unavailable(unavailableReason: string, cause?: unknown): StoreUnavailableError {
  return new StoreUnavailableError(unavailableReason, cause === undefined ? undefined : { cause });
}

/** Any failure of Redis as the error that says: not accepted, send it again. */
export function asUnavailable(error: unknown): StoreUnavailableError {
  return error instanceof StoreUnavailableError ? error : unavailable(redisFailureReason(error), error);
}
