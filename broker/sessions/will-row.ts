import { z } from "zod";
import type { StoredProperties } from "../../platform/publication-log.ts";
import { bearerOf } from "../access/session-owner.ts";
import { type Session, storedWillSchema } from "./storage.ts";

/** The start of the keys of the wills' rows. The rest of a key is the session's key. */
export const WILL_ROW = "will:";

const secondsSchema = z.number().nonnegative();

/** A will as it is stored. */
export const willRowSchema = storedWillSchema.extend({
  payload: z.base64(),
  /** 2 for a will of an MQTT 5 client. Earlier versions publish it without the fields of MQTT 5. Default: 1. */
  v: z.literal(2).optional(),
  /** The will delay interval, seconds. Default: 0. */
  delay: secondsSchema.optional(),
  /** When the delay ends, or the session before that, milliseconds since 1970. Undefined: the client is connected. */
  dueAt: z.number().optional(),
  /** The message expiry interval of the will, which begins when it is published, seconds. Default: no expiry. */
  expiry: secondsSchema.optional(),
  properties: z.base64().optional(),
});
export type WillRow = z.infer<typeof willRowSchema>;

/** A will as a client gives it. The fields of MQTT 5 are as in {@link WillRow}. */
const willSchema = z.object({
  topic: z.string(),
  payload: z.union([z.string(), z.instanceof(Buffer)]),
  qos: storedWillSchema.shape.qos.default(0),
  retain: z.boolean().default(false),
  delay: secondsSchema.optional(),
  expiry: secondsSchema.optional(),
  stored: z.object({ properties: z.instanceof(Uint8Array).optional() }).optional(),
});

/** The row of a client's will, without its bearer. */
export function willRow({ id: clientId }: Session, brokerId: string, will: object): Omit<WillRow, "identity"> {
  const { topic, payload, qos, retain, delay, expiry, stored } = willSchema.parse(will);
  const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
  const row = { clientId, brokerId, topic, qos, retain, payload: bytes.toString("base64") };
  if (delay === undefined) return row;
  const properties = stored?.properties && Buffer.from(stored.properties).toString("base64");
  return { ...row, v: 2, delay, expiry, properties };
}

/** The will as it is published. @param now milliseconds since 1970 */
export function willOf(row: WillRow, now: number) {
  const { clientId, topic, payload, qos, retain } = row;
  const will = {
    cmd: "publish" as const,
    clientId,
    topic,
    payload: Buffer.from(payload, "base64"),
    qos,
    retain,
    dup: false,
  };
  const stored = storedOf(row, now);
  return { will: stored === undefined ? will : { ...will, stored }, owner: { key: clientId, bearer: bearerOf(row) } };
}

function storedOf({ v, clientId, expiry, properties }: WillRow, now: number): StoredProperties | undefined {
  if (v === undefined) return undefined;
  return {
    publisher: clientId,
    expiresAt: expiry === undefined ? undefined : now + expiry * 1_000,
    properties: properties === undefined ? undefined : Buffer.from(properties, "base64"),
  };
}
