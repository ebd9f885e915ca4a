import { ulid } from "ulid";

/** What a message says, before its sender's name and number are on it. */
export interface Statement {
  event: string;
  data: unknown;
  /** When it happened, not when it is sent. */
  at: Date;
  session: string;
}

/**
 * The contract's envelope as text, without `seq`: that is given when the message is first sent ({@link withSeq}), so
 * that what was coalesced or dropped before leaves no hole in the count, and a hole means loss on the way.
 */
export function encodeEnvelope({ event, data, at, session }: Statement): string {
  return JSON.stringify({ v: 1, id: ulid(at.getTime()), timestamp: at.toISOString(), session, event, data });
}

/** Puts the number in, without reading the text again. */
export function withSeq(envelope: string, seq: number): string {
  return `{"seq":${seq},${envelope.slice(1)}`;
}
