import type { RetainedQuota } from "./retained-quota.ts";
import type { ShareStore } from "./share-store.ts";

/** What is stored with a publication of an MQTT 5 client, besides what MQTT 3.1.1 has. */
export interface StoredProperties {
  /** The session key of the client that published it, so that MQTT 5 clients can refuse their own messages. */
  readonly publisher?: string | undefined;
  /** Not delivered from this moment on, milliseconds since 1970 by the clock of sessions. Default: no limit. */
  readonly expiresAt?: number | undefined;
  /** The MQTT 5 properties that subscribers get, encoded by the broker, at most `MAX_MQTT_PROPERTIES_BYTES`. Default: none. */
  readonly properties?: Uint8Array | undefined;
}

/** A publication for MQTT subscribers, at its position in the journal. */
export interface LoggedPublication extends StoredProperties {
  readonly position: number;
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /**
   * The log stores this name instead of the payload, which another store keeps as long as no newer one replaces it. A
   * publication whose payload was replaced is not read from the log. Default: the log stores the payload.
   */
  readonly reference?: string | undefined;
}

/** Whether subscribers get the publication no longer. @param now milliseconds since 1970, by the clock of sessions */
export function hasExpired({ expiresAt }: StoredProperties, now: () => number): boolean {
  return expiresAt !== undefined && expiresAt <= now();
}

/** The approximate size of a stored publication besides its payload and topic. */
const PUBLICATION_BYTES = 40;

/** The approximate size of a publication in the log. */
export function sizeOf({ topic, payload, reference, properties, publisher }: LoggedPublication): number {
  const added = (properties?.length ?? 0) + (publisher?.length ?? 0);
  return (reference?.length ?? payload.length) + topic.length + PUBLICATION_BYTES + added;
}

/** Publications in order of position. */
export interface PublicationPage {
  readonly publications: readonly LoggedPublication[];
  /** The log has been read up to and including this position. */
  readonly next: number;
  /** The store has lost publications above `after` and below `before`. Undefined: nothing is missing. */
  readonly missing?: { readonly after: number; readonly before: number };
  /** When the publications up to each position were stored, milliseconds since 1970, if the store knows. */
  readonly stored?: readonly { readonly upTo: number; readonly at: number }[];
}

/** Publications that this node has passed on, and that the store has lost. */
export interface LostPublications {
  /** Above this position, everything is lost. Other publications get these positions. */
  readonly after: number;
  /** As far as memory reaches back. */
  readonly publications: readonly LoggedPublication[];
}

/** A message id of a QoS 2 publication whose PUBREL has not arrived. */
export interface IncomingId {
  /** The session of the publishing client. */
  readonly session: string;
  readonly messageId: number;
}

/** What is known of a retained message without its payload. */
export interface RetainedTopic extends Pick<StoredProperties, "expiresAt"> {
  readonly topic: string;
  readonly position: number;
  /** As {@link retainedSize} says. */
  readonly bytes: number;
}

/** The bytes of a message that count against `MAX_RETAINED_BYTES`: its payload and its MQTT 5 properties. */
export function retainedSize(payload: { readonly length: number }, properties: Uint8Array | undefined): number {
  return payload.length + (properties?.length ?? 0);
}

/** A retained message. Its position is its version. */
export type RetainedPublication = LoggedPublication & { readonly retain: true };

/**
 * The publications of QoS 1 and 2, and the retained ones, in the order of the journal. Sessions are cursors over this
 * log. A publication is in the log once its publisher is acknowledged.
 */
export interface PublicationLog {
  /** Positions have a meaning only within an epoch. */
  readonly epoch: string;
  /** Whether rows that were stored in this epoch have a meaning: it is the current one, or the log continues it. */
  isKnown(epoch: string): boolean;
  /** The newest position. Publications need not have consecutive positions. */
  readonly head: number;
  /** Publications up to and including this position may have been removed. */
  readonly floor: number;
  /** The size of the stored publications, approximate. */
  readonly bytes: number;
  /**
   * Calls back with each batch of new publications, before their publishers are acknowledged. A batch may be empty.
   * @returns stops following
   */
  follow(onPublications: (publications: readonly LoggedPublication[], head: number) => void): () => void;
  /** The next publications after the position, from memory. Undefined when memory does not reach back so far. */
  recent(after: number): PublicationPage | undefined;
  /** The next publications after the position. The page may be empty although `next` is below the head. */
  read(after: number): Promise<PublicationPage>;
  /** As {@link read}, for counting: all publications that name a payload are in the page, with an empty payload. */
  scan(after: number): Promise<PublicationPage>;
  /**
   * Removes publications above `after` and up to `upTo` that are not wanted, as far as this is worth a write. Readers see
   * no loss. @throws {StoreUnavailableError} also if sessions of other nodes may want them
   */
  compact(
    range: { readonly after: number; readonly upTo: number },
    isWanted: (publication: LoggedPublication) => boolean,
  ): Promise<void>;
  /**
   * Calls back when this node or another one has compacted the log up to the position: with the size of the removed
   * publications, as {@link sizeOf} says. @returns stops that
   */
  onCompacted(listener: (upTo: number, bytes: number) => void): () => void;
  /**
   * While there are no sessions, publications need not be stored: followers get them from memory. Say that there are
   * sessions before the row of the first one is written, and that there are none once the last row is durably removed.
   * Default: publications are stored. Undefined: this store always stores them.
   */
  storeFor?(hasSessions: boolean): void;
  /**
   * Removes publications up to and including the position, once no node needs them. Retained messages stay.
   * @param connected what sessions that are connected to this node do not need. Another node may compact up to there
   */
  trim(upTo: number, connected?: number): void;
  /** The topics with a retained message. Read at the start, and again after {@link MqttLog.onReset}. */
  retainedTopics(): AsyncIterable<RetainedTopic>;
  /**
   * Removes retained messages that are still at these positions, because they have expired. Subscribers hear nothing of
   * it. @throws {StoreUnavailableError} some may be removed
   */
  removeRetained(messages: readonly Pick<RetainedTopic, "topic" | "position">[]): Promise<void>;
  /** The retained messages of the topics. Undefined for a topic that has none now. */
  retained(topics: readonly string[]): Promise<(RetainedPublication | undefined)[]>;
}

/** A client's rows as they were when this node became their writer. */
export interface TakenRows {
  /** Whether this node has the session's newest row in memory. */
  isNewest: boolean;
  /** The session's row; undefined when there is none. */
  session: string | undefined;
  /** The session's message ids of QoS 2 publications whose PUBREL has not arrived. */
  incomingIds: readonly number[];
  /** The row of the client's will, which was removed. */
  will?: string | undefined;
}

/** Called when other nodes change the rows of clients. A store for a single node never calls these functions. */
export interface BrokerRowsListener {
  /** The client has connected to another node, which writes its rows from now on. @param session the row of a new session */
  onTaken(client: string, session: string | undefined): void;
  /** The client is connected to no node, and this is its session's row. */
  onLeft(client: string, session: string): void;
  /** The client has no session any more. */
  onRemoved(client: string): void;
  /** The client's node has ended. This node writes the rows of the client now, and publishes its will. */
  onWill(client: string, will: string): void;
}

/**
 * Rows of the broker that are durable together with the log. A client has the rows `session:{client}` and
 * `will:{client}`. A row that is set twice before it is written is written once.
 *
 * With several nodes, one node writes the rows of a client: the node to which the client connected last. What an earlier
 * writer sets is not written.
 */
export interface BrokerRows {
  /**
   * All rows whose key begins with the prefix. Read at the start, and again after {@link MqttLog.onReset}. With several
   * nodes, wills come only by {@link BrokerRowsListener.onWill}: a will belongs to a node, which may be alive.
   */
  load(prefix: string): AsyncIterable<readonly [key: string, value: string]>;
  /** Changes a row with the next write of the journal, or soon. Undefined removes the row. */
  set(key: string, value: string | undefined): void;
  /** Calls back before each write of the journal: rows that are set then are written with it. @returns stops that */
  beforeWrite(collect: () => void): () => void;
  /**
   * Resolves when all rows that were set before are durable, or belong to another node now: see {@link writerOf}.
   * @throws {StoreUnavailableError} they are written later
   */
  flush(): Promise<void>;
  /**
   * The client connects to this node, which writes its rows from now on. The will of its earlier connection is removed
   * if that connection's node has ended. When this resolves, this node has followed the log up to this moment.
   * @returns undefined when this node has everything in memory @throws {StoreUnavailableError}
   */
  take(client: string): Promise<TakenRows | undefined>;
  /** The client has disconnected from this node and has no will. Any node may write its rows. */
  release(client: string): void;
  /** Which node writes the client's rows. `nobody`: the client is connected to no node. */
  writerOf(client: string): "this" | "other" | "nobody";
  /** After a reset: whether this node has written the client's rows since before, so that it knows newer ones than the store. */
  isUnchanged(client: string): boolean;
  /**
   * After a reset: the store has everything that this node knows of its clients. Until then, a client that connects to
   * another node waits, for a bounded time.
   */
  settle(): void;
  /**
   * Removes the client's session, durably. @returns false if another node has just changed it: it stays
   * @throws {StoreUnavailableError}
   */
  removeSession(client: string): Promise<boolean>;
  /** The listener hears everything that other nodes do after the rows that {@link load} returned. @returns stops that */
  follow(listener: BrokerRowsListener): () => void;
  /**
   * Whether this node, of all nodes, counts the publications that sessions without a connection lose. Never true at two
   * nodes at the same time. For a short time after the first node has died, it is true at no node.
   */
  readonly isFirstNode: boolean;
}

/** The data that an earlier version stored outside the log. The take-over reads the data once, before the log has readers. */
export interface EarlierRows {
  /** Runs the task while no other node takes over anything. A node that starts meanwhile waits. */
  alone(task: () => Promise<void>): Promise<void>;
  /** The mark of the last {@link end}. */
  mark(): Promise<string | undefined>;
  /** As {@link MqttLog.append}. Refused if another node has begun to take over. */
  append(publication: AppendedPublication): Promise<number>;
  /**
   * Publications that the earlier version accepted and did not deliver to all MQTT subscribers, in order of position.
   * A retained one that is not the newest of its topic any more has `retain: false`.
   */
  undelivered(): AsyncIterable<LoggedPublication>;
  /** Stores rows that the earlier version kept elsewhere. Resolves when they are durable. @throws {StoreUnavailableError} */
  put(rows: TakenOverRows): Promise<void>;
  /**
   * Removes the publications of {@link undelivered}, and in the same write stores the mark, which says that everything
   * has been taken over. @throws {StoreUnavailableError}
   */
  end(mark: string): Promise<void>;
}

export interface TakenOverRows {
  /** Retained messages. They get the newest position. */
  retained?: readonly Omit<LoggedPublication, "position">[];
  incomingIds?: readonly IncomingId[];
  /** Commands that the relay has not finished. */
  open?: readonly LoggedPublication[];
  /** Rows of {@link BrokerRows}, by client. The wills come after all sessions. */
  sessions?: readonly (readonly [client: string, row: string])[];
  wills?: readonly (readonly [client: string, row: string])[];
}

/** A publication that is appended without ingest. */
export interface AppendedPublication extends Omit<LoggedPublication, "position" | "payload"> {
  readonly payload: Uint8Array;
  readonly incomingId?: IncomingId | undefined;
  /** As in `IncomingPublication`. */
  readonly willOf?: string | undefined;
  /** As in `IncomingPublication`. */
  readonly quota?: RetainedQuota | undefined;
  /**
   * The lease of the task for which this node publishes, and the number of the lease's holder. The store takes the
   * publication only while this node holds the lease. Default: none.
   */
  readonly fence?: { readonly lease: string; readonly number: number } | undefined;
}

/** The log of publications, the rows and the message ids that the journal stores for the broker. */
export interface MqttLog {
  readonly publications: PublicationLog;
  readonly rows: BrokerRows;
  /**
   * Appends a publication that only MQTT subscribers get: of a topic outside the root, or a command to a camera.
   * Resolves to its position when it is durable.
   * @throws {LeaseLostError} this node does not hold the lease of the fence
   * @throws {ClientTakenError} the client of the will is at another node
   * @throws {StoreUnavailableError} it is not stored
   */
  append(publication: AppendedPublication): Promise<number>;
  /** The stored ids. Read once, at the start. */
  incomingIds(): AsyncIterable<IncomingId>;
  /** Resolves when the ids are durably removed. @throws {StoreUnavailableError} they are removed later */
  removeIncomingIds(ids: readonly IncomingId[]): Promise<void>;
  /**
   * Stores these as all ids of the session, after the store has lost removals: with an id that the client has ended, its
   * next publication would be taken for a repetition. Undefined: the store loses nothing. @throws {StoreUnavailableError}
   */
  readonly replaceIncomingIds?: ((session: string, messageIds: readonly number[]) => Promise<void>) | undefined;
  /**
   * Calls back when this node has missed publications, or the store has lost some. Everything that was loaded from the
   * log must be loaded again. With several nodes only.
   * @param listener gets what the store has lost, if this is known @returns stops that
   */
  onReset(listener: (lost: LostPublications | undefined) => void): () => void;
  /** Undefined: no earlier version can have used the store. */
  readonly earlier?: EarlierRows;
  /** Groups of shared subscriptions for several nodes. Undefined: a single node, which keeps groups as rows. */
  readonly shares?: ShareStore | undefined;
}
