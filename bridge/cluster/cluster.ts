/**
 * The state that all nodes of one deployment share. With Redis, any number of nodes share the state. A node without
 * Redis is a cluster of one and keeps its documents under `DATA_PATH`. Everything that must hold for all nodes together
 * (limits, revocations, accounts, commands) uses this interface.
 */
export interface Cluster {
  /** A random name of this run of this node. */
  readonly nodeId: string;
  /** Whether the state is in Redis. If so, the state cannot be read while Redis is unreachable. */
  readonly shared: boolean;
  readonly documents: Documents;
  readonly signals: Signals;
  readonly leases: Leases;
  readonly connections: ConnectionRegister;
  /** Undefined in a cluster of one: the node keeps its own counters. */
  readonly counters: Counters | undefined;
  /** The nodes with a heartbeat within the last 30 seconds, including this one. */
  nodes(): Promise<readonly ClusterNode[]>;
  /** Undefined while the store accepts writes. Otherwise explains to an operator why it does not. */
  readonly unavailableReason: string | undefined;
  /**
   * Tests the store with a small write. With Redis, the test takes at most about 2 seconds.
   * @throws {StoreUnavailableError}
   */
  check(): Promise<void>;
  /** Leaves the cluster. For the other nodes, the connections and leases of this node end at once. Idempotent. */
  stop(): Promise<void>;
}

export interface ClusterNode {
  id: string;
  /** Milliseconds since 1970. */
  startedAt: number;
  lastSeenAt: number;
  connections: number;
}

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface StoredDocument {
  value: Json;
  /** The version of the document: every write changes it. */
  version: string;
}

/**
 * Small records that outlive a restart: accounts, devices, revocations, command queues. A write is durable once its
 * promise resolves. Readers validate documents with their own schema. After a {@link StoreUnavailableError}, a write
 * has usually not happened, but with Redis it may have happened or may still happen: read the document again.
 */
export interface Documents {
  /**
   * All methods throw these errors.
   * @throws {StoreUnavailableError}
   * @throws {RangeError} a name or a value exceeds the limits in `limits.ts`
   */
  get(collection: string, key: string): Promise<StoredDocument | undefined>;
  list(collection: string): Promise<readonly (StoredDocument & { key: string })[]>;
  /**
   * @param options.ifVersion writes only if the document has this version; `null`: only if it does not exist
   * @param options.expiresAt when the document expires, milliseconds since 1970. Watchers are not notified of the
   *   expiry. Default: never
   * @returns the new version; undefined when the document has another version
   */
  put(
    collection: string,
    key: string,
    value: Json,
    options?: { ifVersion?: string | null; expiresAt?: number },
  ): Promise<string | undefined>;
  /** @returns false when the document did not exist, or has another version */
  delete(collection: string, key: string, options?: { ifVersion?: string }): Promise<boolean>;
  /**
   * Calls back with the key of a document soon after any node changed the document. Calls back with undefined when
   * changes may have been missed: read the whole collection again.
   */
  watch(collection: string, onChange: (key: string | undefined) => void): () => void;
}

/**
 * Messages from one node to all running nodes, including itself. Messages of one sender arrive in order and are not
 * stored. While Redis is unreachable, a message reaches only its own node. The other nodes are notified of missed
 * messages once Redis is reachable again.
 */
export interface Signals {
  /** @throws {RangeError} the message is larger than 1 MiB of JSON */
  send(name: string, message: Json): void;
  /** @param onMissed called when messages may have been missed, for example after a lost connection to Redis */
  on(name: string, onMessage: (message: Json, from: string) => void, onMissed?: () => void): () => void;
}

/** Leases by name: at most one node holds a lease. The leases of a dead node expire after 10 seconds. */
export interface Leases {
  /** @returns undefined when the lease is held already. `lost` aborts when the lease could not be renewed in time. */
  acquire(name: string): Promise<{ lost: AbortSignal; release(): Promise<void> } | undefined>;
}

/** The connections of each user to all nodes. */
export interface ConnectionRegister {
  /**
   * Registers a connection. Never throws: while Redis is unreachable, only the user's connections to this node are
   * counted. Rejecting all connections would lock out every dashboard that is reloaded during an outage. The limit
   * protects the capacity of a node, and the count of this node still protects it. The price: during the outage, a user
   * may open as many connections to each node as the limit allows. Once Redis is reachable again, the connections are
   * registered and all of them are counted.
   * @param limit 0 for no limit
   * @returns releases the connection, idempotently; undefined when the user has reached the limit
   */
  enter(userId: string, connectionId: string, limit: number): Promise<(() => void) | undefined>;
  /** The number of connections to all nodes. */
  total(): Promise<number>;
}

/** Counters summed over all nodes since the first start. The sums outlive all nodes. */
export interface Counters {
  /**
   * Adds to the sums. A repeated `batch` is not added again, so a call that gets no reply must be repeated unchanged.
   * @param batch the number of this node's batch, from 1
   * @param by whole numbers, by name
   * @throws {StoreUnavailableError} it is unknown whether the batch was added
   */
  add(batch: number, by: Readonly<Record<string, number>>): Promise<CounterSums>;
}

export interface CounterSums {
  /** When the first node started counting, milliseconds since 1970. */
  since: number;
  sums: ReadonlyMap<string, number>;
}
