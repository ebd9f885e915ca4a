import { z } from "zod";
import type { IncomingId } from "../../../platform/publication-log.ts";
import { type SessionOwner, sessionOwnerSchema } from "../../access/session-owner.ts";
import type { WillRow } from "../will-row.ts";
import { decodeMessage, type QueuedMessage } from "./queued-message.ts";

const recordSchema = sessionOwnerSchema.extend({ seenAt: z.number() });

/** Where an earlier version has its store. */
export interface EarlierPlace {
  /** For an operator. */
  readonly name: string;
  /** @returns undefined when there is no store @throws {StoreUnusableError} */
  open(): Promise<EarlierStore | undefined>;
  /** Everything has been taken over, and the store is closed. */
  setAside(): Promise<void>;
}

/** The sessions, messages and wills of an earlier version. */
export interface EarlierStore {
  readonly damage: EarlierDamage;
  /** The number of the store's newest run. Each start of an earlier version raised the number. */
  boot(): Promise<number>;
  /** Leaves out sessions whose records are missing or unreadable: their owners are unknown. */
  sessions(): Promise<Map<string, EarlierSession>>;
  retained(): AsyncIterable<QueuedMessage>;
  wills(): AsyncIterable<WillRow>;
  incomingIds(sessions: ReadonlyMap<string, unknown>): AsyncIterable<IncomingId>;
  /** All messages in the queues of these sessions, in order. Each group holds the copies of one message. */
  queued(sessions: ReadonlyMap<string, unknown>): AsyncIterable<QueuedCopy[]>;
  /** The newest publications that have reached all queues. Undefined: not known. */
  published?(): AsyncIterable<Pick<QueuedMessage, "topic" | "payload">>;
  close(): Promise<void>;
}

export interface EarlierSession {
  owner: SessionOwner;
  seenAt: number;
  filters: Map<string, 0 | 1 | 2>;
}

/** A copy of a message for one session. Copies of one message have the same `order`. */
export interface QueuedCopy {
  readonly session: string;
  /** Sorts by the run of the broker that received the message, and by the message's number within the run. */
  readonly order: string;
  readonly message: QueuedMessage;
}

/** A description of the unreadable rows, for an operator. */
export interface EarlierDamage {
  /** Undefined: LevelDB has lost nothing. */
  loss: { reason: string; whose: string } | undefined;
  /** Damaged rows by what they are, such as `the will of camera-north`. */
  rows: string[];
  /** Sessions whose owners are unknown. */
  sessions: string[];
}

/** @param text an owner as JSON, with the time when the session was last used */
export function readRecord(text: string, seenAt?: number): z.infer<typeof recordSchema> | undefined {
  const read = recordSchema.safeParse(attempt(() => ({ seenAt, ...JSON.parse(text) })));
  if (!read.success) return undefined;
  // Still earlier versions did not store when a token was issued, which was no later than the last connection.
  const { issuedAt, identity, seenAt: last } = read.data;
  return issuedAt === undefined && identity.startsWith("user:") ? { ...read.data, issuedAt: last } : read.data;
}

/** @returns undefined when the row is unreadable */
export function readMessage(row: Buffer): QueuedMessage | undefined {
  return attempt(() => decodeMessage(row));
}

export function attempt<Result>(read: () => Result): Result | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
