/** A message that waits for its PUBACK. */
export interface OutgoingMessage {
  topic: string;
  /**
   * What may happen to it when room is short. `state`: a newer one of the same topic replaces it. `preview`: dropped
   * first, oldest first. `event`: dropped when no preview is left. `report`: says what was dropped, so it never is.
   */
  kind: "state" | "event" | "preview" | "report";
  retain: boolean;
  /** When it happened. */
  at: Date;
  /** An envelope still without its number, or bytes that go as they are: a JPEG, or none to clear a retained topic. */
  body: string | Uint8Array;
}

/** A message that was handed out for sending. Its number stays the same however often it is sent. */
export interface OutboxEntry {
  readonly message: OutgoingMessage;
  /** Counts the messages with an envelope over the outbox's life, in the order of first sending, from 1. */
  readonly seq: number | undefined;
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
  /** Resolves when the message is kept. Order is that of the calls. Never refuses: it makes room by its policy. */
  put(message: OutgoingMessage): Promise<void>;
  /** The oldest message that is not in flight, which from now on is; undefined when there is none. */
  take(): OutboxEntry | undefined;
  /** The broker has it: the only way a message that was sent leaves. Acknowledging twice does nothing. */
  acknowledge(entry: OutboxEntry): Promise<void>;
  /** The link is gone: what was in flight is to be sent again, in the same order, before everything else. */
  release(): void;
  /** What was dropped since the last call, once at least half of the room is free again, so that a report displaces nothing. */
  takeDropped(): Dropped | undefined;
  /** Messages kept, those in flight included. */
  readonly size: number;
}
