import type { Logger } from "pino";
import { counted } from "../../../../platform/counted.ts";
import type { OnDamage } from "../../../../platform/level/damage.ts";
import type { ReplacedEpoch } from "../../journal.ts";
import type { RedisView } from "./redis-view.ts";

interface Lost {
  /** What this node has passed on. */
  before: RedisView;
  /** Of another epoch. */
  now: RedisView;
  /** The position up to which Redis has what this node has passed on. */
  shared: number | undefined;
  /** This node. */
  run: string;
  logger: Logger;
  onDamage?: OnDamage | undefined;
}

/** Reports how much Redis has lost of what this node has passed on, and keeps the history that is still true. */
export function reportLost({ before, now, shared: found, run, logger, onDamage }: Lost): ReplacedEpoch {
  const { epoch, head, history, origins } = now;
  // The journal may be a copy, of which nobody knows what it lacks.
  const shared = origins.has(before.epoch) ? found : undefined;
  if (shared !== undefined) history.continue(before.history, shared);
  const lostEvents = before.history.countOf(run, shared);
  const about = { epoch, head, before: { epoch: before.epoch, head: before.head } };
  if (shared === before.head) logger.warn(about, "the journal in redis has a new epoch: other nodes lost events");
  else
    logger.error(
      { ...about, lostAfter: shared, lostBefore: before.head + 1, lostEvents },
      "acknowledged events are lost: redis holds another journal, or lost a part of this one",
    );
  if (lostEvents > 0 && shared !== undefined)
    onDamage?.({
      ...{ store: "redis", found: "Redis has lost acknowledged events, in a failover or a restart" },
      missing: `${counted(lostEvents, "event")} of this node, among the positions ${shared + 1} to ${before.head} of epoch ${before.epoch}`,
    });
  return { epoch: before.epoch, shared, lostEvents };
}
