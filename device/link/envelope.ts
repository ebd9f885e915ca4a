import { ulid } from "ulid";

/** The part of an envelope that is known when the message is created. */
export interface EnvelopeContent {
  event: string;
  data: unknown;
  /** When it happened, not when it is sent. */
  at: Date;
  session: string;
}

/** The part of an envelope that is known only when the message is sent. */
export interface EnvelopeSeal {
  /** Undefined for messages without a number, such as those about the link. */
  seq: number | undefined;
  /** May differ from the time at creation if the clock was set since. */
  at: Date;
  /** The event happened before the link came up: it is stored as history and does not describe the present. */
  historical?: boolean;
}

/**
 * Encodes the contract's envelope without the part that {@link sealEnvelope} adds. The number is assigned at sending.
 * So a message that was replaced or dropped before leaves no gap, and a gap means a loss on the way.
 */
export function encodeEnvelope({ event, data, at, session }: EnvelopeContent): string {
  return JSON.stringify({ v: 1, id: ulid(at.getTime()), session, event, data });
}

/** Inserts number and time into the text of an envelope, without parsing it. */
export function sealEnvelope(envelope: string, { seq, at, historical = false }: EnvelopeSeal): string {
  const number = seq === undefined ? "" : `"seq":${seq},`;
  const late = historical ? '"historical":true,' : "";
  return `{${number}"timestamp":"${at.toISOString()}",${late}${envelope.slice(1)}`;
}
