import { DEFAULT_JOURNAL_LIMITS, type JournalLimits } from "../../core/limits.ts";

export interface RedisJournalLimits extends JournalLimits {
  /** How long chunks stay after retention removed their entries, for nodes that read late, milliseconds. */
  lingeringMs: number;
  /** The largest size of all these chunks. Beyond it, the oldest are deleted before their time. */
  maxLingeringBytes: number;
}

export const DEFAULT_REDIS_JOURNAL_LIMITS: RedisJournalLimits = {
  ...DEFAULT_JOURNAL_LIMITS,
  // The append script blocks Redis while it runs, so a write is smaller than on a disk.
  ...{ maxGroupEntries: 500, maxGroupBytes: 1024 * 1024 },
  lingeringMs: 60_000,
  maxLingeringBytes: 8 * 1024 * 1024,
};
