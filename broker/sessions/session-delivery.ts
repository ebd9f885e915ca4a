import type { LoggedPublication, PublicationLog, PublicationPage } from "../../platform/publication-log.ts";
import type { StoredFilter } from "./session-filters.ts";
import type { StoredFlight } from "./session-flights.ts";

/** A delivery to the client. */
export interface SessionDelivery {
  readonly publication: LoggedPublication;
  readonly qos: 1 | 2;
  readonly messageId: number;
  readonly dup: boolean;
  /** The RETAIN flag: set if a filter with `retainAsPublished` selects a retained publication [MQTT-3.3.1-13]. */
  readonly retain: boolean;
  /** The identifiers of all filters that select the publication [MQTT-3.3.4-4]. Undefined: none. */
  readonly identifiers: readonly number[] | undefined;
  /** Called when the connection has taken the bytes, or has ended. */
  onWritten(): void;
}

/** The connection of the session's client. */
export interface SessionConnection {
  /** Whether the connection has enough unsent bytes. When it has fewer, `SessionCursor.wake` is called. */
  readonly isFull: boolean;
  /** Whether the client may receive the publication now, by the permissions of this connection. */
  mayReceive(publication: LoggedPublication): boolean;
  send(delivery: SessionDelivery): void;
}

/** A session as it is stored. */
export interface CursorRecord {
  /** Everything up to this position was sent at least once, or is not for this session. */
  sent: number;
  /**
   * Sent and not acknowledged, in order. The message id `NOT_SENT_ID` means: for this session whatever its filters
   * are, and not sent yet.
   */
  open: StoredFlight[];
  filters: StoredFilter[];
}

export interface SessionCursorOptions {
  /** The session's key, by which filters know the client's own publications. */
  key: string;
  log: Pick<PublicationLog, "recent" | "read">;
  /** Everything up to this position has been offered to live sessions. */
  edge(): number;
  /** The largest number of unacknowledged publications. */
  window: number;
  /** The largest number of publications that the connection has not written. */
  maxUnwritten: number;
  /** Whether `SessionCursor.acknowledge` returns the publication. */
  wantsReceipt(topic: string): boolean;
  /** The record differs from the stored one. */
  onChange(): void;
  /** The session was live and is no longer: `SessionCursor.sent` is exact and does not move by itself. */
  onParked?(): void;
  /** Publications are missing that the session may have been waiting for. */
  onMissing(missing: NonNullable<PublicationPage["missing"]>): void;
  onReadFailed(error: unknown): void;
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs the function in a later turn of the event loop. Default: `setImmediate`. */
  defer?: (work: () => void) => void;
  /** Runs the function after a failed read. Default: a second later. */
  retry?: (work: () => void) => void;
}
