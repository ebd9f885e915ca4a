import type { Logger } from "pino";
import { z } from "zod";
import type { SharedFilter } from "../../contract/shares.ts";
import type { RetainedPublication } from "../../platform/publication-log.ts";
import type { SessionOwners } from "../access/authenticate.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import type { PermissionSet } from "../access/permission-sets.ts";
import type { RetainedLookup } from "../access/retained-topics.ts";
import { bearerSchema, type SessionOwner } from "../access/session-owner.ts";
import type { Wills } from "../access/wills.ts";
import type { PropertiedPacket } from "../aedes/propertied-packet.ts";

import type { SessionCursor } from "./session-cursor.ts";
import type { SessionConnection } from "./session-delivery.ts";
import type { ShareGroups } from "./shares/share-groups.ts";

/** A client as the store identifies it. */
export interface Session {
  id: string;
  clean?: boolean;
  closed?: boolean;
}

export interface StoredSubscription {
  clientId: string;
  topic: string;
  qos: 0 | 1 | 2;
}

/** A message as Aedes passes it to the store. */
export interface StoredPacket {
  cmd: "publish";
  topic: string;
  payload: Buffer | string;
  qos: 0 | 1 | 2;
  retain: boolean;
  brokerId: string;
  brokerCounter: number;
  messageId?: number | undefined;
}

/** Ends on errors. Aedes does not handle the errors of a stream, which would crash the process. */
export async function* safely<Item>(items: AsyncIterable<Item>, onError: (error: unknown) => void) {
  try {
    yield* items;
  } catch (error) {
    onError(error);
  }
}

/** A stored will, without its payload. */
export const storedWillSchema = bearerSchema.extend({
  /** The session key, under the name that Aedes uses. */
  clientId: z.string(),
  brokerId: z.string(),
  topic: z.string(),
  qos: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  retain: z.boolean(),
});

/** A message being sent to a client, or its PUBREL after the client's PUBREC. */
export type OutgoingUpdate =
  | (StoredPacket & { messageId: number })
  | { cmd: "pubrel"; messageId: number; brokerId?: string; brokerCounter?: number };

/** An acknowledged message, or a message whose delivery was suppressed; the latter has no message id yet. */
export interface Cleared {
  messageId?: number | undefined;
  brokerId?: string | undefined;
  brokerCounter?: number | undefined;
}

/** Publishes a will whose client is not connected. Resolves when it is published, dropped or kept. Never rejects. */
export type PublishWill = (will: PropertiedPacket) => Promise<void>;

export interface StorageOptions {
  permissionsOf(permissions: readonly string[]): PermissionSet;
  /** Whether acknowledged messages on this topic are reported. */
  wantsReceipt(topic: string): boolean;
  /**
   * Returns the message that was sent with this id to a client with a clean session, if {@link wantsReceipt} holds for
   * its topic. (A clean session has no record of it.)
   */
  takeReceipt(client: Session, messageId: number): unknown;
  wills: Wills;
  maxSessions: number;
  maxSessionsPerUser: number;
  maxSubscriptions: number;
  maxOfflineMessages: number;
  maxOfflineBytes: number;
  maxOfflineLogBytes: number;
  maxOfflineHours: number;
  maxRetainedMessages: number;
  maxShareGroups: number;
  maxShareGroupsPerUser: number;
  /** Wills of clients whose node has ended wait for four heartbeats. Milliseconds. */
  heartbeatMs: number;
  /** The time by which sessions expire, milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

export interface LogDeliveries {
  /** The broker id of publications from the log. Their counter is their position. */
  readonly logId: string;
  /** The message id of a publication that is being sent to the client; undefined when it was closed meanwhile. */
  messageIdAt(client: Session, position: number): number | undefined;
  /** A free message id for a retained message or a `$` topic, which have no place in the log. */
  nextUnloggedId(client: Session): number;
}

/** A promise, or what calls back at once: Aedes calls nothing but `then`. */
export interface Callback {
  then(resolve: () => void, reject: (error: unknown) => void): unknown;
}

/** The store as the broker needs it. Aedes needs further methods. */
export interface BrokerStorage extends SessionOwners {
  /** The id of this run of the broker. Sorts after the ids of all earlier runs of any node. */
  readonly brokerId: string;
  readonly sessions: number;
  readonly queues: { readonly totals: { messages: number; bytes: number }; readonly dropped: number };
  readonly retained: {
    readonly topics: RetainedLookup;
    readonly refused: number;
    /** A subscription of this moment gets publications above this position live. */
    readonly newest: number;
    /** The position of a message that was read; undefined if the topic has changed since. */
    positionOf(topic: string, payload: Uint8Array): number | undefined;
    /** The retained messages that the filters select, one filter after the other. */
    read(filters: readonly string[]): AsyncIterable<RetainedPublication>;
  };
  /** No connection to this node uses the session key any more. */
  release(key: string): void;
  /**
   * The session's client has disconnected. The session ends if its expiry interval is 0. Otherwise its age counts from
   * now. Call this before {@link release}, and not when the broker stops or a newer connection has the session.
   */
  left(clientId: string): Promise<void>;
  /**
   * Changes the session's expiry interval, as DISCONNECT may [MQTT-3.14.2.2.2].
   * @param expiry seconds. Undefined: `MQTT_SESSION_HOURS`
   */
  setExpiry(key: string, expiry: number | undefined): void;
  /** Discards disconnected sessions whose expiry interval has passed, or that were last used before the moment (ms since 1970). @returns how many */
  expire(moment: number, isConnected: (clientId: string) => boolean): Promise<number>;
  /** Discards the sessions of the matching owners, connected or not. @returns how many */
  discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number>;
  /** Whether the persistent session has the filter. */
  isSubscribed(key: string, filter: string): boolean;
  /** Calls back when the removal is durable, and at once if there is nothing to remove. */
  removeSubscriptions(client: Session, filters: string[]): Callback;
  /**
   * The client of a persistent session has sent a SUBSCRIBE, and the filter is granted. From now on, the session gets
   * publications of the filter. Resolves when the filter is durable. @throws {StoreUnavailableError}
   */
  subscribe(key: string, filter: string, options: FilterOptions): Promise<void>;
  /**
   * Connects a client that Aedes does not serve to its session, which {@link keep} has kept. Send the PUBRELs with the
   * ids `released`, and then call `cursor.start(connection)`. @returns undefined when the session has been taken away
   */
  connect(key: string, connection: SessionConnection): { cursor: SessionCursor; released: number[] } | undefined;
  /** Resolves when the session's changes are durable. @throws {StoreUnavailableError} */
  store(key: string): Promise<void>;
  /** The groups of shared subscriptions. */
  readonly shares: ShareGroups;
  /** What all groups have behind them, and what members have not acknowledged, approximate. */
  readonly shareBacklog: number;
  /**
   * A client of Aedes has sent a SUBSCRIBE, and the filter of a shared subscription is granted. Resolves when the
   * subscription is durable. @throws {StoreUnavailableError}
   */
  subscribeShared(client: Session, identity: string, shared: SharedFilter, options: FilterOptions): Promise<void>;
  /** How sessions send publications of the log. */
  readonly deliveries: LogDeliveries;
  /** Whether the client has sent a QoS 2 publication with this message id, and not yet the PUBREL. */
  isIncoming(clientId: string, messageId: number): boolean;
  /** The client has sent a QoS 2 publication with this message id, which the journal has stored. Effective at once. */
  incomingStorePacket(client: Session, packet: { messageId?: number | undefined }): Promise<void>;
  /** PUBREL has arrived. Resolves when the message id is durably removed. @throws {StoreUnavailableError} */
  incomingDelPacket(client: Session, packet: { messageId?: number }): Promise<void>;
  /** Removes the message ids of the client's QoS 2 publications. */
  cleanIncoming(client: Session): Promise<void>;
  /** Stores the will of a client that is connecting. A will of MQTT 5 has the fields `delay` and `expiry` too, in seconds. */
  putWill(client: Session, will: object): Promise<void>;
  /** Removes the will of a client that connects, or, with the id of this run, of one whose connection has closed. */
  delWill(client: Session & { brokerId?: string }): Promise<void>;
  /**
   * The connection of an MQTT 5 client has ended, and its will is not discarded. Call this before {@link left}.
   * @returns true: this store publishes the will when its delay has passed or the session ends [MQTT-3.1.3-9], or never,
   *   because a newer connection has the session. False: publish the will now, and then call {@link delWill}
   */
  postponeWill(client: Session, will: object): boolean;
  /** From now on, wills that are due are published. */
  startWills(publish: PublishWill): void;
  /** The server stops: from now on, no delay of a will begins or ends. */
  stopWills(): void;
  destroy(): Promise<void>;
}
