import { DASHBOARD } from "../../contract/channels.ts";
import type { LimitedLog } from "../../platform/limited-log.ts";
import { everyRunning } from "../../platform/running-time.ts";
import type { Journal } from "../journal/journal.ts";
import { type CheckpointOptions, followFromCheckpoint } from "./checkpoint.ts";
import type { CheckpointedRules, WatcherRules } from "./watcher-rules.ts";

interface WatcherOptions {
  journal: Pick<Journal, "follow" | "snapshot">;
  checkIntervalMs?: number;
  /** Unsubscribe from sources other than the journal. */
  unsubscribe?: readonly (() => void)[];
  limitedLog?: LimitedLog;
}

export interface Watcher {
  /** Never rejects. Idempotent. */
  stop(): Promise<void>;
}

/** Starts a watcher that rebuilds its state from the retained topics at each start. */
export function startWatcher(rules: WatcherRules, options: WatcherOptions): Watcher {
  const { journal } = options;
  const unfollow = journal.follow((entries) => {
    for (const entry of entries) rules.apply(entry);
  });
  rules.seed?.(journal.snapshot(DASHBOARD), true);
  return run(rules, options, unfollow);
}

/**
 * Starts a watcher that saves its state, and continues after the last entry that it had applied.
 * @throws {StoreUnavailableError} the saved state cannot be read
 */
export async function startCheckpointedWatcher(rules: CheckpointedRules, options: WatcherOptions & CheckpointOptions) {
  const following = await followFromCheckpoint(rules, options);
  return { ...run(rules, options, following.stop), save: following.save };
}

function run(
  rules: WatcherRules,
  { checkIntervalMs, unsubscribe = [], limitedLog }: WatcherOptions,
  unfollow: () => void | Promise<void>,
): Watcher {
  // After a pause, the journal's entries of that time are read before the next check.
  const endChecks =
    checkIntervalMs === undefined
      ? undefined
      : everyRunning(checkIntervalMs, (pausedMs) => (pausedMs > 0 ? rules.paused?.(pausedMs) : rules.check?.()));
  let stopping: Promise<void> | undefined;

  async function stop(): Promise<void> {
    endChecks?.();
    for (const end of unsubscribe) end();
    if (rules.settle !== undefined) await rules.settle();
    // Unfollows last, so that the rules also receive the events that they have just published.
    await unfollow();
    limitedLog?.stop();
  }

  return {
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}
