import type { Redis } from "ioredis";

/** How long replicas may take to confirm a write. Nothing else is sent over the connection meanwhile. */
const REPLICATION_TIMEOUT_MS = 500;

/** When a write counts as done. */
export interface Replication {
  /** How many replicas must have it. 0: none. */
  replicas: number;
  /** The key that {@link awaitReplicas} writes. */
  key: string;
}

/** Resolves when enough replicas have everything that Redis wrote before. @throws {Error} too few have confirmed in time */
export async function awaitReplicas(redis: Redis, { replicas, key }: Replication): Promise<void> {
  // WAIT is about the last write of its own connection, and others may have written since.
  const [, confirmed] = await Promise.all([redis.set(key, ""), redis.wait(replicas, REPLICATION_TIMEOUT_MS)]);
  if (confirmed < replicas) throw new Error(`only ${confirmed} of ${replicas} replicas confirm writes`);
}
