/** Limits on the journal's queues and tables. A normal installation does not reach the defaults. */
export interface RedisJournalLimits {
  /** The largest number of messages in one call of the append script. The script blocks Redis while it runs. */
  maxBatchMessages: number;
  /** The largest size of one call: characters of bodies plus bytes of payloads. At least one message is sent. */
  maxBatchBytes: number;
  /** The largest number of appends that may wait for Redis. Further ones fail with `StoreUnavailableError`. */
  maxWaitingMessages: number;
  /** The largest total size of the appends that wait for Redis, in characters and bytes. */
  maxWaitingBytes: number;
  /** The largest number of sessions. Beyond it, the sender with the most sessions loses its least recently used one. */
  maxSessions: number;
  /**
   * The largest number of sessions of one sender: enough for its devices and connections, and for retries after an
   * outage.
   */
  maxSessionsPerSender: number;
  /** The largest number of ranges of sequence numbers in one session. Beyond it, the lowest range is evicted. */
  maxSeqRanges: number;
  /**
   * The largest number of channels: further ones are rejected. Beyond half of it, channels without entries are removed.
   */
  maxChannels: number;
  /** The largest number of topics with state. Events of further topics are stored, but their state is not. */
  maxStateTopics: number;
  /**
   * The largest total size of state values loaded at start-up, characters. Further values stay in the store, unused.
   */
  maxLoadedStateChars: number;
  /** The most batches with undelivered messages. Beyond it, the oldest messages are delivered again after this run. */
  maxUndeliveredBatches: number;
  /**
   * The size of the newest entries kept in memory, characters. A client that lags a little then needs no read of Redis.
   */
  maxRecentChars: number;
  /**
   * The largest number of chunks that stay after retention removed their entries, for nodes that read them a little
   * late.
   */
  maxLingeringChunks: number;
}

export const DEFAULT_REDIS_JOURNAL_LIMITS: RedisJournalLimits = {
  maxBatchMessages: 500,
  maxBatchBytes: 1024 * 1024,
  maxWaitingMessages: 20_000,
  maxWaitingBytes: 64 * 1024 * 1024,
  maxSessions: 20_000,
  maxSessionsPerSender: 128,
  maxSeqRanges: 128,
  maxChannels: 50_000,
  maxStateTopics: 100_000,
  maxLoadedStateChars: 128 * 1024 * 1024,
  maxUndeliveredBatches: 10_000,
  maxRecentChars: 8 * 1024 * 1024,
  maxLingeringChunks: 1_000,
};
