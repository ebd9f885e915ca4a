/** A message that a camera or service hands to its outbox. */
export interface OutgoingMessage {
  topic: string;
  /**
   * Decides when the message is sent, and what happens to it when the outbox is full.
   * - `state`, `alert`: a newer message on the same topic replaces it; dropped last.
   * - `reply`: the answer to a command, which somebody waits for; never dropped.
   * - `event`: dropped when no preview is left, oldest first.
   * - `preview`: dropped first, oldest first.
   * - `report`: reports dropped messages; never dropped.
   */
  kind: "state" | "alert" | "reply" | "event" | "preview" | "report";
  retain: boolean;
  /** When it happened. */
  at: Date;
  /** An envelope still without number and time, or bytes that are sent unchanged: a JPEG, or none to clear a retained topic. */
  body: string | Uint8Array;
}

/** A message that was handed out for sending. */
export interface OutboxEntry {
  readonly message: Pick<OutgoingMessage, "topic" | "kind" | "retain" | "body">;
  /** Counts the messages with an envelope over the outbox's life, in the order of first sending, from 1. Never changes. */
  readonly seq: number | undefined;
  /** When it happened, corrected if the clock was set since. */
  readonly at: Date;
  /** Whether the event happened before the link came up: it is stored as history and does not describe the present. */
  readonly historical: boolean;
  /** Whether nobody waits for the message, so that new ones are sent first. */
  readonly backlog: boolean;
}

/** How many messages were dropped, and the times of the first and the last. */
export interface Dropped {
  count: number;
  from: Date;
  to: Date;
}

/**
 * Keeps every message until the broker has acknowledged it. MQTT.js' own queue and store are not used: they are
 * unbounded, and lose publishes when the connection breaks during their replay (MQTT.js #2015).
 */
export interface Outbox {
  /**
   * Never rejects a message: drops older ones when the outbox is full.
   * Resolves when the message is stored, or when the broker has acknowledged it before that.
   * @param dedupKey stored atomically with the message: see {@link DedupKeys}
   */
  put(message: OutgoingMessage, dedupKey?: string): Promise<void>;
  /** The link is up. Messages stored before this moment, except states, alerts and replies, are the backlog. */
  connected(): void;
  /**
   * Returns the next message to send, which is in flight from then on; undefined when there is none.
   * @param fits checks the message before it is handed out; when it returns false, `take` returns undefined.
   *   Default: every message fits.
   */
  take(fits?: (entry: OutboxEntry) => boolean): OutboxEntry | undefined;
  /** Sets the listener that is called when {@link take} may return a message again. One listener, the newest. */
  onReady(listener: () => void): void;
  /** Removes a message that the broker has acknowledged. Idempotent. */
  acknowledge(entry: OutboxEntry): Promise<void>;
  /**
   * The link is down: messages in flight are sent again later, in the same order.
   * @param byPeer whether the broker closed the connection. MQTT 3.1.1 gives a broker no other way to refuse a message
   *   [MQTT-3.3.5-2]: a message that ends every connection must not block the others.
   */
  release(byPeer: boolean): void;
  /** Topics of the messages quarantined since the last call: the broker closed the connection whenever they were sent. */
  takeQuarantined(): readonly string[];
  /** Messages dropped since the last call. Undefined while more than half of the room is used: the report needs room too. */
  takeDropped(): Dropped | undefined;
  /** Stored messages, including those in flight. */
  readonly size: number;
  /** Messages that wait to be sent and are not in the backlog. */
  readonly fresh: number;
  /**
   * Why the disk cannot be written, so that messages are in memory only. Undefined while it can be, and without a disk.
   */
  readonly writeFailure: string | undefined;
  /** Sets the listener for changes of {@link writeFailure}. One listener. */
  onWriteFailureChange(listener: () => void): void;
  /** Writes what is pending. Messages put later are not rejected, but not stored. Idempotent. */
  close(): Promise<void>;
}

/**
 * Names of things already turned into messages, so that each is sent only once. A key is stored in the same write as
 * its message.
 */
export interface DedupKeys {
  has(key: string): boolean;
  /** Deletes all keys that are not in the set. */
  keepOnly(keys: ReadonlySet<string>): Promise<void>;
}
