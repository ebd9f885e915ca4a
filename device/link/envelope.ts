import { ulid } from "ulid";

export interface EnvelopeSeal {
  /** Undefined for unnumbered messages, such as those about the link. */
  seq: number | undefined;
  at: Date;
  /** The event happened before the link came up: it is history, not the present state. */
  historical?: boolean;
}

/**
 * Encodes the envelope without the part that {@link sealEnvelope} adds. The number is assigned when the message is
 * sent. A message that is replaced or dropped before that leaves no gap, so a gap means that a message was lost on the
 * way.
 */
export function encodeEnvelope({
  event,
  data,
  at,
  session,
}: {
  event: string;
  data: unknown;
  at: Date;
  session: string;
}): string {
  return JSON.stringify({ v: 1, id: ulid(at.getTime()), session, event, data });
}

export function sealEnvelope(envelope: string, { seq, at, historical = false }: EnvelopeSeal): string {
  const number = seq === undefined ? "" : `"seq":${seq},`;
  const late = historical ? '"historical":true,' : "";
  return `{${number}"timestamp":"${at.toISOString()}",${late}${envelope.slice(1)}`;
}
