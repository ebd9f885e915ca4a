/** What bounds the journal's queues and maps. Each default is meant to be out of reach of an honest installation. */
export interface RedisJournalLimits {
  /** The most messages one call of the append script takes: while it runs Redis does nothing else. */
  maxBatchMessages: number;
  /** The most characters of bodies and bytes of payloads one call takes; always at least one message. */
  maxBatchBytes: number;
  /** The most appends that may wait for Redis; further ones are refused with `StoreUnavailableError`. */
  maxWaitingMessages: number;
  /** The most characters and bytes that may wait for Redis. */
  maxWaitingBytes: number;
  /** Sessions whose sequence numbers are remembered; beyond it, the least recently used one of the sender who has the most goes. */
  maxSessions: number;
  /** And those of one sender: what its devices and connections, and what they send again after an outage, can have. */
  maxSessionsPerSender: number;
  /** Separate runs of sequence numbers remembered for one session; the lowest is forgotten first. */
  maxSeqRanges: number;
  /** Channels the journal keeps apart. Beyond half of it channels that kept nothing are forgotten, beyond it new ones refused. */
  maxChannels: number;
  /** Retained topics whose last value is kept. Events of further ones are kept, their state is not. */
  maxStateTopics: number;
  /** Characters of last values that are loaded at the start; those of further topics stay in the store and are not shown. */
  maxLoadedStateChars: number;
  /** Batches with messages that no one has reported as emitted; beyond it the oldest are emitted again after this run. */
  maxUndeliveredBatches: number;
  /** The newest entries kept in memory, in characters, so that a client a little behind costs no call. */
  maxRecentChars: number;
  /** Chunks that retention has passed and that stay yet, for nodes that read them a little late. */
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
