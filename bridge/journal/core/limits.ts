export interface RetentionLimits {
  /** The largest number of entries of a channel; Infinity for no limit. */
  retentionEvents: number;
  /** The largest age of an entry, hours; Infinity for no limit. */
  retentionHours: number;
}

/** @throws {RangeError} the retention would keep no entries */
export function assertRetention({ retentionEvents, retentionHours }: RetentionLimits): void {
  if (!(retentionEvents >= 1)) throw new RangeError("retentionEvents must be at least 1");
  if (!(retentionHours > 0)) throw new RangeError("retentionHours must be more than 0");
}

export const BACKGROUND = {
  /** Retention runs after this many appends. */
  trimEveryAppends: 1_000,
  /** Retention also runs at this interval, because entries expire without any append. */
  trimIntervalMs: 60_000,
  /** How long the removal of finished commands waits for an append to join. After that, it is written on its own. */
  openFlushDelayMs: 200,
};

/** Limits on the journal's queues and tables. A normal installation does not reach the defaults. */
export interface JournalLimits {
  /** The largest number of entries in one write. */
  maxGroupEntries: number;
  /** The largest size of one write: characters of bodies plus bytes of payloads. At least one entry is written. */
  maxGroupBytes: number;
  /** The largest number of appends that may wait for the store. Further appends fail with `StoreUnavailableError`. */
  maxWaitingEntries: number;
  /** The largest total size of the waiting appends, in characters and bytes. */
  maxWaitingBytes: number;
  /** The largest number of sessions. Beyond it, the sender with the most sessions loses its least recently used one. */
  maxSessions: number;
  /** The largest number of sessions of one sender: enough for its devices, its connections, and retries. */
  maxSessionsPerSender: number;
  /** The largest number of ranges of sequence numbers in one session. Beyond it, the lowest range is evicted. */
  maxSeqRanges: number;
  /** The largest number of channels. Beyond half of it, channels without entries are removed. */
  maxChannels: number;
  /** The largest number of topics with state. Events of further topics are stored without state. */
  maxStateTopics: number;
  /** The largest total size of state loaded at the start, characters. Further state stays in the store, unused. */
  maxLoadedStateChars: number;
  /** The size of the newest entries kept in memory, characters. Clients that lag a little read only these. */
  maxRecentChars: number;
}

export const DEFAULT_JOURNAL_LIMITS: JournalLimits = {
  maxGroupEntries: 1_000,
  maxGroupBytes: 4 * 1024 * 1024,
  maxWaitingEntries: 20_000,
  maxWaitingBytes: 64 * 1024 * 1024,
  maxSessions: 20_000,
  maxSessionsPerSender: 128,
  maxSeqRanges: 128,
  maxChannels: 50_000,
  maxStateTopics: 100_000,
  maxLoadedStateChars: 128 * 1024 * 1024,
  maxRecentChars: 8 * 1024 * 1024,
};
