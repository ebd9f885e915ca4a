import { ulid } from "ulid";

/** The part of an envelope that is known at the message's creation. */
export interface EnvelopeContent {
  event: string;
  data: unknown;
  /** The time of the event, not of the sending. */
  at: Date;
  session: string;
}

/** The part of an envelope that is known at the message's sending. */
export interface EnvelopeSeal {
  /** Undefined for unnumbered messages, such as those about the link. */
  seq: number | undefined;
  /** Differs from the time at creation if the clock was set since. */
  at: Date;
  /** The event happened before the link came up: it is history, not the present state. */
  historical?: boolean;
}

/**
 * Encodes the envelope without the part that {@link sealEnvelope} adds. The number is assigned at sending: a message
 * that was replaced or dropped before leaves no gap, so a gap means a loss on the way.
 */
export function encodeEnvelope({ event, data, at, session }: EnvelopeContent): string {
  return JSON.stringify({ v: 1, id: ulid(at.getTime()), session, event, data });
}

/** Inserts number and time without parsing the envelope. */
export function sealEnvelope(envelope: string, { seq, at, historical = false }: EnvelopeSeal): string {
  const number = seq === undefined ? "" : `"seq":${seq},`;
  const late = historical ? '"historical":true,' : "";
  return `{${number}"timestamp":"${at.toISOString()}",${late}${envelope.slice(1)}`;
}
