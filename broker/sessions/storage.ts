import type { SessionOwners } from "../access/authenticate.ts";
import type { RetainedLookup } from "../access/retained-topics.ts";
import type { SessionOwner } from "../access/session-owner.ts";

/** The store of sessions and retained messages could not be opened. The message says what to do. */
export class StorageError extends Error {
  override name = "StorageError";
}

/** A client as the store identifies it. */
export interface Session {
  id: string;
  clean?: boolean;
  closed?: boolean;
}

/** A message as Aedes passes it to the store. */
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

/** A message being sent to a client, or its PUBREL after the client's PUBREC. */
export type OutgoingUpdate =
  | (StoredPacket & { messageId: number })
  | { cmd: "pubrel"; messageId: number; brokerId?: string; brokerCounter?: number };

/** The store of sessions, as the broker needs it. Aedes needs further methods. */
export interface BrokerStorage extends SessionOwners {
  /** An id of this run of the broker that sorts after the ids of all earlier runs. */
  readonly brokerId: string;
  readonly sessions: number;
  readonly queues: { readonly totals: { messages: number; bytes: number }; readonly dropped: number };
  readonly retained: {
    readonly topics: RetainedLookup;
    readonly refused: number;
    /** Whether a retained message that is about to be delivered is still its topic's retained message. */
    isNewest(topic: string, payload: Uint8Array): boolean;
  };
  /** The session's client has disconnected: the session ages from now on. */
  left(clientId: string): Promise<void>;
  /** Discards the sessions that were last used before the moment, milliseconds since 1970. @returns how many */
  expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number>;
  /** Discards the sessions of the matching owners, connected or not, with their queues. @returns how many */
  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number>;
  removeSubscriptions(client: Session, filters: string[]): Promise<void>;
  /** Whether the client gets the publication from the session's queue, and therefore not now. */
  isDeliveredFromQueue(client: Session, brokerCounter: number): boolean;
  /** Whether the client sent a QoS 2 publication with this message id, and not yet its PUBREL. */
  isIncoming(clientId: string, messageId: number): boolean;
  destroy(): Promise<void>;
}
