/** A message that waits for its PUBACK. */
export interface OutgoingMessage {
  topic: string;
  /**
   * Its turn, and what may happen to it when room is short.
   * - `state`, `alert`: a newer one of the same topic replaces it; dropped when nothing else is left.
   * - `reply`: to a command; somebody waits for it.
   * - `event`: dropped when no preview is left, oldest first.
   * - `preview`: dropped first, oldest first.
   * - `report`: says what was dropped, so it never is.
   */
  kind: "state" | "alert" | "reply" | "event" | "preview" | "report";
  retain: boolean;
  /** When it happened. */
  at: Date;
  /** An envelope still to be sealed, or bytes that go as they are: a JPEG, or none to clear a retained topic. */
  body: string | Uint8Array;
}

/** A message that was handed out for sending. */
export interface OutboxEntry {
  readonly message: Pick<OutgoingMessage, "topic" | "kind" | "retain" | "body">;
  /** Counts the messages with an envelope over the outbox's life, in the order of first sending, from 1. It stays. */
  readonly seq: number | undefined;
  /** When it happened, as far as is known now. */
  readonly at: Date;
  /** It was kept from before the link came up, and it is not the state of anything. */
  readonly historical: boolean;
  /** Nothing waits for it: it may be held back for what is new. */
  readonly backlog: boolean;
}

/** Messages that had to go to make room, and between which times they happened. */
export interface Dropped {
  count: number;
  from: Date;
  to: Date;
}

/**
 * Keeps everything a camera says until the broker has acknowledged it: MQTT.js' own queue and store lose publishes
 * that are cut in the middle of their replay (MQTT.js #2015), and bound nothing.
 */
export interface Outbox {
  /**
   * Resolves when the message is kept, or acknowledged by the broker before it could be. Never refuses: it makes room by its policy.
   * @param mark remembered together with the message, as one: see {@link Marks}
   */
  put(message: OutgoingMessage, mark?: string): Promise<void>;
  /** The link is up: what is kept until now and is no state, alert or reply, is the backlog. */
  connected(): void;
  /**
   * The next message to be sent, which from now on is in flight; undefined when there is none.
   * @param fits asked about it before it is handed out: when not, nothing is. Default: everything fits.
   */
  take(fits?: (entry: OutboxEntry) => boolean): OutboxEntry | undefined;
  /** Calls back whenever {@link take} may have something that it had not before. One listener, the newest. */
  onReady(listener: () => void): void;
  /** The broker has it: the only way a message that was sent leaves. Acknowledging twice does nothing. */
  acknowledge(entry: OutboxEntry): Promise<void>;
  /**
   * The link is gone: what was in flight is to be sent again, in the same order.
   * @param byPeer whether the other side ended it. A broker has no other way to refuse a message [MQTT-3.3.5-2]: one that
   * ends every connection must not keep all others from being sent.
   */
  release(byPeer: boolean): void;
  /** The topics of messages that were put aside since the last call, for a broker ends the connection over them. */
  takeAside(): readonly string[];
  /** What was dropped since the last call, once at least half of the room is free again, so that a report displaces nothing. */
  takeDropped(): Dropped | undefined;
  /** Messages kept, those in flight included. */
  readonly size: number;
  /** Those that wait to be sent and are no backlog. */
  readonly fresh: number;
  /**
   * Why messages are kept in memory only: the disk takes no writes. Undefined while all is well, and of an outbox that
   * has no disk by intention.
   */
  readonly trouble: string | undefined;
  /** Calls back when {@link trouble} begins, and when it is over. One listener. */
  onTrouble(listener: () => void): void;
  /** What was put is kept, and nothing more is taken. Idempotent. */
  close(): Promise<void>;
}

/**
 * Names of things that were turned into messages, so that none is turned into messages twice: each is kept in the same
 * write as its message.
 */
export interface Marks {
  has(mark: string): boolean;
  /** Forgets all that are not in the set. */
  keepOnly(marks: ReadonlySet<string>): Promise<void>;
}
