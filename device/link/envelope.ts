import { ulid } from "ulid";

/** What a message says, before its sender's name and number are on it. */
export interface Statement {
  event: string;
  data: unknown;
  /** When it happened, not when it is sent. */
  at: Date;
  session: string;
}

/** What is known of a message only when it is sent. */
export interface Seal {
  /** Undefined for what carries no number: links. */
  seq: number | undefined;
  /** A clock that was set meanwhile makes it another than it was when the message was written down. */
  at: Date;
  /** It was kept for a link that was away: it enters history and is not the newest word on anything. */
  historical?: boolean;
}

/**
 * The contract's envelope as text, without what only its sending decides ({@link sealEnvelope}). The number is given
 * then, so that what was coalesced or dropped before leaves no hole in the count, and a hole means loss on the way.
 */
export function encodeEnvelope({ event, data, at, session }: Statement): string {
  return JSON.stringify({ v: 1, id: ulid(at.getTime()), session, event, data });
}

/** Puts number and time in, without reading the text again. */
export function sealEnvelope(envelope: string, { seq, at, historical = false }: Seal): string {
  const number = seq === undefined ? "" : `"seq":${seq},`;
  const late = historical ? '"historical":true,' : "";
  return `{${number}"timestamp":"${at.toISOString()}",${late}${envelope.slice(1)}`;
}
