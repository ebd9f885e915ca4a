import { z } from "zod";
import type { BrokerRows } from "../../platform/publication-log.ts";
import { ownerOf, type SessionOwner, sessionOwnerSchema } from "../access/session-owner.ts";
import type { SessionCursor } from "./session-cursor.ts";

/** The start of the keys of the sessions' rows. The rest of a key is the session's key. */
export const SESSION_ROW = "session:";

const qosSchema = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const countSchema = z.number().int().nonnegative();
const recordSchema = sessionOwnerSchema.extend({
  /**
   * The version of the record's format. Version 2 has the fields of MQTT 5: `expiry`, `away`, and the fourth and fifth
   * value of a filter. A session without these is written as version 1, which earlier versions of the server read.
   */
  v: z.union([z.literal(1), z.literal(2)]),
  /** When the session's client last connected or disconnected, milliseconds since 1970. */
  seenAt: z.number(),
  epoch: z.string(),
  sent: countSchema,
  open: z.array(
    z.tuple([
      countSchema,
      z.union([z.literal(1), z.literal(2)]),
      z.union([z.literal(0), z.literal(1)]),
      z.number().int().optional(),
    ]),
  ),
  filters: z.array(z.tuple([z.string(), qosSchema, countSchema, countSchema.optional(), countSchema.optional()])),
  /** The session expiry interval, seconds. Undefined: `MQTT_SESSION_HOURS`. */
  expiry: countSchema.optional(),
  /** The client has disconnected, at `seenAt`. Only in records with `expiry`. */
  away: z.literal(1).optional(),
});
export type StoredSession = z.infer<typeof recordSchema>;

export interface LogSession {
  readonly key: string;
  owner: SessionOwner;
  seenAt: number;
  /** The session expiry interval, seconds. Undefined: `MQTT_SESSION_HOURS`. */
  expiry: number | undefined;
  /** The client has disconnected, at `seenAt`. False while it is connected, and unknown when it has no `expiry`. */
  isLeft: boolean;
  cursor: SessionCursor;
  /** The client is connected to another node. This node has no use for the cursor. */
  isElsewhere: boolean;
  /** Whether it has been logged that the session loses publications. */
  isDropping: boolean;
  /** It has been logged that the session may have missed publications up to this position. */
  toldUntil: number;
  savedAt: number;
}

/** @param now when the record was read, or the session was created, milliseconds since 1970 */
export function sessionOf(
  key: string,
  { seenAt, expiry, away, ...owner }: SessionOwner & Pick<StoredSession, "seenAt" | "expiry" | "away">,
  cursor: SessionCursor,
  now: number,
): LogSession {
  const isLeft = away === 1;
  // The end of the client's connection was not stored: the server was killed or stopped. The interval begins now.
  const hasEnded = expiry !== undefined && !isLeft;
  return {
    ...{ key, owner: ownerOf(owner), expiry, cursor, isLeft: isLeft || hasEnded, seenAt: hasEnded ? now : seenAt },
    ...{ isElsewhere: false, isDropping: false, toldUntil: 0, savedAt: 0 },
  };
}

/** Reads the rows of all sessions. @returns the records, and the keys of the sessions whose rows are unreadable */
export async function loadRecords(rows: Pick<BrokerRows, "load">) {
  const records: [key: string, record: StoredSession][] = [];
  const unreadable: string[] = [];
  for await (const [rowKey, row] of rows.load(SESSION_ROW)) {
    const key = rowKey.slice(SESSION_ROW.length);
    const record = readRecord(row);
    if (record === undefined) unreadable.push(key);
    else records.push([key, record]);
  }
  return { records, unreadable };
}

export function rowOf({ owner, seenAt, expiry, isLeft, cursor }: LogSession, epoch: string): string {
  const record = cursor.record();
  const isFirst = expiry === undefined && record.filters.every(({ length }) => length <= FIELDS_OF_VERSION_1);
  const ending = expiry === undefined ? {} : { expiry, ...(isLeft ? { away: 1 } : {}) };
  return JSON.stringify({ v: isFirst ? 1 : 2, ...owner, seenAt, epoch, ...record, ...ending });
}

const FIELDS_OF_VERSION_1 = 3;

export function readRecord(row: string): StoredSession | undefined {
  try {
    return recordSchema.parse(JSON.parse(row));
  } catch {
    return undefined;
  }
}
