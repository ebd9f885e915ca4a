import type { Journal } from "../../bridge/journal/journal.ts";
import { openRedisJournal, type RedisJournalOptions } from "../../bridge/journal/stores/redis/redis.ts";
import type { RedisConnections } from "../../platform/redis/connections.ts";
import { Membership, type MembershipOptions } from "../../platform/redis/membership.ts";

type Timing = Pick<MembershipOptions, "heartbeatMs" | "deadAfterMs">;
export type NodeWaits = NonNullable<RedisJournalOptions["waits"]> & Timing;
export interface NodeOptions extends Omit<RedisJournalOptions, "membership" | "waits"> {
  waits?: NodeWaits;
  nodeName?: string;
}

/** Joins the nodes. */
export async function joinNodes(
  redis: RedisConnections,
  options: Omit<MembershipOptions, "run" | "prefix">,
  startTimeoutMs = 15_000,
): Promise<{ membership: Membership; leave: () => Promise<void> }> {
  const { commands } = redis;
  await commands.ready(startTimeoutMs);
  const membership = new Membership({
    ...{ ...options, prefix: redis.prefix },
    run: (script, keys, args) => commands.run(script, keys, args),
  });
  await membership.start(startTimeoutMs);
  return { membership, leave: () => membership.leave().catch(() => {}) };
}

/** Opens the journal as a node of its own. */
export async function openJournalNode({ waits = {}, nodeName, ...options }: NodeOptions): Promise<Journal> {
  const { heartbeatMs, deadAfterMs, ...journalWaits } = waits;
  const { logger } = options;
  const node = { name: nodeName, heartbeatMs, deadAfterMs, logger };
  const { membership, leave } = await joinNodes(options.redis, node, waits.openTimeoutMs);
  try {
    const journal = await openRedisJournal({ ...options, membership, waits: journalWaits });
    const close = journal.close.bind(journal);
    return Object.assign(journal, { close: () => close().then(leave) });
  } catch (error) {
    await leave();
    throw error;
  }
}
