import { DEFAULT_JOURNAL_LIMITS, type JournalLimits } from "../limits.ts";

export interface RedisJournalLimits extends JournalLimits {
  /** The largest number of chunks that stay after retention removed their entries, for nodes that read late. */
  maxLingeringChunks: number;
}

export const DEFAULT_REDIS_JOURNAL_LIMITS: RedisJournalLimits = {
  ...DEFAULT_JOURNAL_LIMITS,
  // The append script blocks Redis while it runs, so a write is smaller than on a disk.
  ...{ maxGroupEntries: 500, maxGroupBytes: 1024 * 1024 },
  maxLingeringChunks: 1_000,
};
