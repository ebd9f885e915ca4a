/** Error texts of Redis and ioredis, each with its meaning and the remedy. The first match is used. */
const REASONS: readonly [pattern: RegExp, meaning: string][] = [
  [/^OOM|OOM command/, "Redis is out of memory: raise its maxmemory, or lower RETENTION_EVENTS or RETENTION_HOURS"],
  [/READONLY|UNBLOCKED/, "the Redis at REDIS_URL is a replica and rejects writes: waiting for a master"],
  [/MISCONF/, "Redis rejects writes because it cannot save to its disk: free disk space, and see the log of Redis"],
  [/replicas confirm writes/, "fewer replicas confirm writes than REDIS_WAIT_REPLICAS: see INFO replication of Redis"],
  [/NOREPLICAS/, "Redis rejects writes because too few replicas follow it: see min-replicas-to-write"],
  [/failover is under way/, "another Redis is about to become the master: waiting for it"],
  [/LOADING/, "Redis is loading its data from the disk"],
  [/^MOVED|^ASK/, "Redis has another master: connecting to it"],
  [/BUSY/, "Redis is busy with a script"],
  [
    /CLUSTERDOWN|TRYAGAIN|MASTERDOWN|ClusterAllFailed|Failed to refresh slots/,
    "the Redis Cluster is down or incomplete: see CLUSTER INFO",
  ],
  [/NOAUTH|WRONGPASS|NOPERM/, "Redis denies access: correct the user and the password in REDIS_URL"],
  [/timed out/i, "Redis does not answer: Redis or the network hangs"],
  [
    /writeable|Connection is closed|ECONN|EPIPE|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN|max retries|connection close|aborted|ended/i,
    "Redis cannot be reached: start it, or check the network",
  ],
];

/** Explains the failure of a command to an operator. */
export function redisFailureReason(error: unknown): string {
  const text =
    error instanceof Error ? `${error.name === "Error" ? "" : `${error.name} `}${error.message}` : `${error}`;
  const [, meaning] = REASONS.find(([pattern]) => pattern.test(text)) ?? [];
  return meaning === undefined ? `Redis answers with an error: ${text}` : `${meaning}; the server retries by itself`;
}

/** Whether the failure has to do with Redis or the network, and not with the arguments of the command. */
export function isFailureOfRedis(error: unknown): boolean {
  return error instanceof Error && REASONS.some(([pattern]) => pattern.test(error.message));
}

/** Whether the Redis that answered is not, or no longer, the master. */
export function isOtherMaster(error: unknown): boolean {
  return (
    error instanceof Error && /^(READONLY|MOVED|ASK|UNBLOCKED|MASTERDOWN)|READONLY You can't write/.test(error.message)
  );
}
