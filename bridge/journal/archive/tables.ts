import type { Kind } from "./kinds.ts";

export interface EventRow {
  /** The place of the event in the archive: see {@link placeOf}. Grows from event to event. */
  id: number;
  /** The number of the journal's epoch: see {@link EpochRow}. */
  epoch: number;
  position: number;
  /** When the server accepted the event, milliseconds since 1970. */
  time: number;
  /** The sender's timestamp, milliseconds since 1970. */
  sent_at: number | null;
  kind: Kind;
  event: string;
  /** The camera whose channel carries the event; otherwise the camera that the event names. */
  camera: string | null;
  /** The channels that carried the event, with a blank before and after each, such as ` camera:north dashboard `. */
  channels: string;
  /** The same channels as bits: see `REACH` in `rows.ts`. */
  reach: number;
  /** The sender's id of the event. */
  event_id: string | null;
  /** The id of the job or command that the event is about. */
  subject: string | null;
  /** The words to search for, in lower case. */
  words: string;
  /** The event as dashboards receive it, as JSON. */
  body: string;
}

/** An epoch of the journal that was archived. */
export interface EpochRow {
  /** From 1, in order. */
  number: number;
  name: string;
  /** Everything up to this position is archived or recorded as a gap. Written together with the events. */
  position: number;
  began_at: number;
}

/** Positions that the archive could not read. */
export interface GapRow {
  /** The place of the first event after the gap. */
  id: number;
  epoch: number;
  after: number;
  /** Null: it is unknown whether and how many events followed. */
  before: number | null;
  reason: "trimmed" | "damaged" | "epoch_changed";
  noticed_at: number;
}

/**
 * The first and the last place of the events of one period ({@link PERIOD_MS}). With these rows, a query finds the
 * events of a time without an index on the time.
 */
export interface PeriodRow {
  period: number;
  first_id: number;
  last_id: number;
}

export interface Tables {
  archive_events: EventRow;
  archive_epochs: EpochRow;
  archive_gaps: GapRow;
  archive_periods: PeriodRow;
  /** SQLite only: the full-text index of `words`. */
  archive_words: { rowid: number; words: string };
}

export const PERIOD_MS = 600_000;

/**
 * The number of positions of one epoch. 2^40 events are 70 years at 500 events a second, and 2^53 / 2^40 leaves 8,191
 * epochs.
 */
const EPOCH_SIZE = 2 ** 40;

/** One number for epoch and position, so that one index orders all events. */
export function placeOf(epoch: number, position: number): number {
  return epoch * EPOCH_SIZE + position;
}
