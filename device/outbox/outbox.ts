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
  at: Date;
  /** Text: an envelope without number and time. Bytes: a JPEG, or no bytes, which clear a retained topic. */
  body: string | Uint8Array;
}

export interface OutboxEntry {
  readonly message: Pick<OutgoingMessage, "topic" | "kind" | "retain" | "body">;
  /** The number of the envelope, from 1, in the order of first sending. It never changes. */
  readonly seq: number | undefined;
  /** The time of the event, corrected if the clock was set since. */
  readonly at: Date;
  /** Whether the event happened before the link came up, and so does not describe the present. */
  readonly historical: boolean;
  /** Whether the message is part of the backlog: nobody waits for it, and new messages are sent first. */
  readonly backlog: boolean;
}

/** `from` and `to` are the times of the first and the last message. */
export interface Dropped {
  count: number;
  from: Date;
  to: Date;
}

/**
 * Keeps messages until the broker acknowledges them. MQTT.js' own queue and store are unbounded, and lose publishes
 * when the connection breaks during their replay (MQTT.js #2015).
 */
export interface Outbox {
  /**
   * Never rejects: a full outbox drops older messages. Resolves when the message is stored or acknowledged.
   * @param dedupKey stored atomically with the message: see {@link DedupKeys}
   */
  put(message: OutgoingMessage, dedupKey?: string): Promise<void>;
  /** Call it when the link is up. Earlier messages become the backlog, except states, alerts and replies. */
  connected(): void;
  /**
   * Returns the next message to send, and marks it as in flight. Returns undefined when there is none, or it does not
   * fit.
   * @param fits checks the message before it is in flight. Default: every message fits
   */
  take(fits?: (entry: OutboxEntry) => boolean): OutboxEntry | undefined;
  /** Sets the only listener for when {@link take} may return a message again. */
  onReady(listener: () => void): void;
  /** Removes an acknowledged message. Idempotent. */
  acknowledge(entry: OutboxEntry): Promise<void>;
  /**
   * Call it when the link is down. Messages in flight will be sent again in the same order.
   * @param byPeer whether the broker closed the connection, which is the only way to refuse a message in MQTT 3.1.1
   * [MQTT-3.3.5-2]. A message that ends every connection must not block the others.
   */
  release(byPeer: boolean): void;
  /**
   * Topics of the messages that were quarantined since the last call, because the broker closed each connection over
   * them.
   */
  takeQuarantined(): readonly string[];
  /** Messages dropped since the last call. Undefined while the outbox is over half full: the report needs space. */
  takeDropped(): Dropped | undefined;
  readonly size: number;
  readonly fresh: number;
  /** Why the disk cannot be written. Undefined while the disk can be written, and without a disk. */
  readonly writeFailure: string | undefined;
  /** Sets the only listener for changes of {@link writeFailure}. */
  onWriteFailureChange(listener: () => void): void;
  /** Writes pending changes. Ignores later messages. Idempotent. */
  close(): Promise<void>;
}

/** Keys of pictures that were published already. A key is stored in the same write as its message. */
export interface DedupKeys {
  has(key: string): boolean;
  keepOnly(keys: ReadonlySet<string>): Promise<void>;
}
