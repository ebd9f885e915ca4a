/** What bounds the journal's queues and maps. Each default is meant to be out of reach of an honest installation. */
export interface JournalLimits {
  /** The most entries one write takes. */
  maxGroupEntries: number;
  /** The most characters of bodies and bytes of payloads one write takes; always at least one entry. */
  maxGroupBytes: number;
  /** The most appends that may wait for the disk; further ones are refused with `StoreUnavailableError`. */
  maxWaitingEntries: number;
  /** The most characters and bytes that may wait for the disk. */
  maxWaitingBytes: number;
  /** Sessions whose sequence numbers are remembered; beyond it, the least recently used one of the sender who has the most goes. */
  maxSessions: number;
  /** And those of one sender: what its devices and connections, and what they send again after an outage, can have. */
  maxSessionsPerSender: number;
  /** Separate runs of sequence numbers remembered for one session; the lowest is forgotten first. */
  maxSeqRanges: number;
  /** Channels the journal keeps apart. Beyond it channels that kept nothing are forgotten, then new ones refused. */
  maxChannels: number;
  /** Retained topics whose last value is kept. Events of further ones are kept, their state is not. */
  maxStateTopics: number;
  /** Characters of last values that are loaded at the start; those of further topics stay in the store and are not shown. */
  maxLoadedStateChars: number;
  /** Writes with messages that no one has reported as emitted; beyond it the oldest are emitted again at the next start. */
  maxUndeliveredGroups: number;
  /** The newest entries kept in memory, in characters, so that a client a little behind costs no disk read. */
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
  maxUndeliveredGroups: 10_000,
  maxRecentChars: 8 * 1024 * 1024,
};
