import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { Documents, Json } from "../../cluster/cluster.ts";

/** The names are stored: they must not change. */
const COLLECTION = "outside-broker";
const KEY = "installation";

const schema = z.object({
  v: z.literal(1),
  /** The random part of the default client id, and the mark of the server's own publications. */
  name: z.string(),
  /** The journal's epoch, within which the positions have a meaning. */
  epoch: z.string(),
  /** The position at which this installation first used another broker. */
  since: z.number(),
  /** Everything that the backend published up to here is acknowledged by the broker. */
  sent: z.number(),
  /** Whether the broker has given this installation a session. */
  hasSession: z.boolean(),
  /** When a node was last connected with that session, milliseconds since 1970. */
  seenAt: z.number(),
});

/** What the nodes of one installation remember of the other broker. */
export type Installation = z.infer<typeof schema>;

type Store = Pick<Documents, "get" | "put">;

/** @throws {StoreUnavailableError} */
export async function readInstallation(documents: Pick<Documents, "get">): Promise<Installation | undefined> {
  return schema.safeParse((await documents.get(COLLECTION, KEY))?.value).data;
}

/** Reads the record, or creates one. @throws {StoreUnavailableError} @throws {LeaseLostError} */
export async function openInstallation(documents: Store, log: { epoch: string; head: number }): Promise<Installation> {
  const known = await readInstallation(documents);
  const { epoch, head } = log;
  if (known?.epoch === epoch) return known;
  // A position of another epoch says nothing. What is retained is published again, when the session is new.
  const name = known?.name ?? randomBytes(5).toString("hex");
  const { hasSession = false, seenAt = 0 } = known ?? {};
  const created: Installation = { v: 1, name, epoch, since: head, sent: head, hasSession, seenAt };
  await saveInstallation(documents, created);
  return created;
}

/** @throws {StoreUnavailableError} @throws {LeaseLostError} */
export async function saveInstallation(documents: Pick<Documents, "put">, installation: Installation): Promise<void> {
  const value: Json = { ...installation };
  await documents.put(COLLECTION, KEY, value);
}
