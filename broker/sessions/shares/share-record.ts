import { z } from "zod";

/** The start of the keys of the groups' rows. The rest of a key is the group's key. */
export const SHARE_ROW = "share:";

const qosSchema = z.union([z.literal(0), z.literal(1), z.literal(2)]);
const positionSchema = z.number().int().nonnegative();
const recordSchema = z.object({
  /** The version of the record's format. */
  v: z.literal(1),
  identity: z.string(),
  share: z.string(),
  filter: z.string(),
  epoch: z.string(),
  sent: positionSchema,
  /** Publications that no member has. */
  waiting: z.array(positionSchema),
  /** Position, QoS, 1 if PUBREC has arrived, message id, session key of the member. */
  open: z.array(
    z.tuple([
      positionSchema,
      z.union([z.literal(1), z.literal(2)]),
      z.union([z.literal(0), z.literal(1)]),
      z.number().int().positive(),
      z.string(),
    ]),
  ),
  /** Session key, QoS, 1 if the session outlives its connection. */
  members: z.array(z.tuple([z.string(), qosSchema, z.union([z.literal(0), z.literal(1)])])),
});

/** A group as it is stored. */
export type ShareRecord = z.infer<typeof recordSchema>;

export function readShareRecord(row: string): ShareRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(row));
  } catch {
    return undefined;
  }
}
