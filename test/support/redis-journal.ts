import type { Journal } from "../../bridge/journal/journal.ts";
import { asUnavailable } from "../../bridge/journal/stores/redis/connection.ts";
import { openRedisJournal, type RedisJournalOptions } from "../../bridge/journal/stores/redis/redis.ts";
import { FAIL_FAST, type RedisConnections } from "../../platform/redis/connections.ts";
import { Membership, type MembershipOptions } from "../../platform/redis/membership.ts";
import type { Script } from "../../platform/redis/script.ts";

type Timing = Pick<MembershipOptions, "heartbeatMs" | "deadAfterMs">;
export type NodeWaits = NonNullable<RedisJournalOptions["waits"]> & Timing;
export interface NodeOptions extends Omit<RedisJournalOptions, "membership" | "waits"> {
  waits?: NodeWaits;
  nodeName?: string;
}

/** Joins the nodes with a connection of its own. `leave` closes the connection. */
export async function joinNodes(
  redis: RedisConnections,
  options: Omit<MembershipOptions, "run" | "probe" | "prefix">,
  startTimeoutMs = 15_000,
): Promise<{ membership: Membership; leave: () => Promise<void> }> {
  const connection = redis.connect("membership", { ...FAIL_FAST, commandTimeout: 2_000 });
  const run = (script: Script, keys: readonly string[], args: readonly (string | number)[]) =>
    script.run(connection, keys, args).catch((error: unknown) => {
      throw asUnavailable(error);
    });
  const membership = new Membership({ ...options, run, probe: run, prefix: redis.prefix });
  await membership.start(startTimeoutMs).catch((error: unknown) => {
    connection.disconnect();
    throw error;
  });
  return {
    membership,
    async leave() {
      await membership.leave().catch(() => {});
      connection.disconnect();
    },
  };
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
