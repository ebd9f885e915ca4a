import { z } from "zod";
import { type SessionOwner, sessionOwnerSchema } from "../access/session-owner.ts";
import type { SessionCursor } from "./session-cursor.ts";

/** The start of the keys of the sessions' rows. The rest of a key is the session's key. */
export const SESSION_ROW = "session:";

const qosSchema = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const positionSchema = z.number().int().nonnegative();
const recordSchema = sessionOwnerSchema.extend({
  /** The version of the record's format. */
  v: z.literal(1),
  /** When the session's client last connected or disconnected, milliseconds since 1970. */
  seenAt: z.number(),
  epoch: z.string(),
  sent: positionSchema,
  open: z.array(
    z.tuple([
      positionSchema,
      z.union([z.literal(1), z.literal(2)]),
      z.union([z.literal(0), z.literal(1)]),
      z.number().int().optional(),
    ]),
  ),
  filters: z.array(z.tuple([z.string(), qosSchema, positionSchema])),
});
export type StoredSession = z.infer<typeof recordSchema>;

export interface LogSession {
  readonly key: string;
  owner: SessionOwner;
  seenAt: number;
  cursor: SessionCursor;
  /** The client is connected to another node. This node has no use for the cursor. */
  isElsewhere: boolean;
  /** Whether it has been logged that the session loses publications. */
  isDropping: boolean;
  /** It has been logged that the session may have missed publications up to this position. */
  toldUntil: number;
  savedAt: number;
}

export function rowOf({ owner, seenAt, cursor }: LogSession, epoch: string): string {
  return JSON.stringify({ v: 1, ...owner, seenAt, epoch, ...cursor.record() });
}

export function readRecord(row: string): StoredSession | undefined {
  try {
    return recordSchema.parse(JSON.parse(row));
  } catch {
    return undefined;
  }
}
