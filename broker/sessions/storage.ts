import type { SessionOwners } from "../access/authenticate.ts";
import type { RetainedLookup } from "../access/retained-topics.ts";
import type { SessionOwner } from "../access/session-owner.ts";

/** The store of sessions and retained messages could not be opened. The message says what to do. */
export class StorageError extends Error {
  override name = "StorageError";
}

/** A client, as far as a store knows it. */
export interface Session {
  id: string;
  clean?: boolean;
  closed?: boolean;
}

/** A message as Aedes hands it to a store. */
export interface StoredPacket {
  cmd: "publish";
  topic: string;
  payload: Buffer | string;
  qos: 0 | 1 | 2;
  retain: boolean;
  dup: boolean;
  brokerId: string;
  brokerCounter: number;
  messageId?: number | undefined;
}

/** What is on its way to a client: the message, or after PUBREC its PUBREL alone. */
export type OutgoingUpdate =
  | (StoredPacket & { messageId: number })
  | { cmd: "pubrel"; messageId: number; brokerId?: string; brokerCounter?: number };

/** What the broker wants of the store of its sessions, beside what Aedes wants. */
export interface BrokerStorage extends SessionOwners {
  /** A name for this run that sorts after those of all runs before. */
  readonly brokerId: string;
  readonly sessions: number;
  readonly queues: { readonly totals: { messages: number; bytes: number }; readonly dropped: number };
  readonly retained: {
    readonly topics: RetainedLookup;
    readonly refused: number;
    /** Whether a retained message that is about to be delivered is still what its topic holds. */
    isNewest(topic: string, payload: Uint8Array): boolean;
  };
  /** The session's client has left. */
  left(clientId: string): Promise<void>;
  /** Discards the sessions that nobody has used since the moment, in milliseconds since 1970. @returns how many */
  expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number>;
  /** Ends the sessions of such owners, with all they hold, whether their clients are there or not. @returns how many */
  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number>;
  removeSubscriptions(client: Session, filters: string[]): Promise<void>;
  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean;
  isIncoming(clientId: string, messageId: number): boolean;
  destroy(): Promise<void>;
}
