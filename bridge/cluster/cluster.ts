import type { Disagreement } from "../../platform/redis/agreement.ts";

/**
 * The state that all nodes of one deployment share in Redis. A node without Redis is a cluster of one and keeps its
 * documents under `DATA_PATH`. Everything that must hold for all nodes together (limits, revocations, accounts,
 * commands) uses this interface.
 */
export interface Cluster {
  /** A random id of this run of this node. */
  readonly nodeId: string;
  /** Whether the state is in Redis, and so cannot be read while Redis is unreachable. */
  readonly shared: boolean;
  readonly documents: Documents;
  readonly signals: Signals;
  readonly leases: Leases;
  readonly connections: ConnectionRegister;
  /** Undefined in a cluster of one: the node keeps its own counters. */
  readonly counters: Counters | undefined;
  /** Undefined in a cluster of one: the node keeps its own rates. */
  readonly rates: Rates | undefined;
  /** The living nodes, including this one. A node is dead after 10 seconds without a heartbeat. */
  nodes(): Promise<readonly ClusterNode[]>;
  /**
   * Calls back with the ids of the living nodes, including this one, after each heartbeat of this node. Never in a
   * cluster of one. @returns removes the listener
   */
  onNodes(listener: (living: ReadonlySet<string>) => void): () => void;
  /** The clock that all nodes share: that of Redis, or of this machine for a single node. Milliseconds since 1970. */
  now(): number;
  /** How settings, clocks and names of this node and of others differ, for an operator. Empty in a cluster of one. */
  readonly disagreements: readonly Disagreement[];
  /** Explains to an operator why the store accepts no writes. Undefined while the store accepts them. */
  readonly unavailableReason: string | undefined;
  /** Tests the store with a small write: at most about 2 seconds with Redis. @throws {StoreUnavailableError} */
  check(): Promise<void>;
  /** Leaves the cluster: for the other nodes, the connections and leases of this node end at once. Idempotent. */
  stop(): Promise<void>;
}

export interface ClusterNode {
  id: string;
  /** Contains the name of the host and the `DATA_PATH`. */
  name: string;
  /** Milliseconds since 1970, by the clock that the nodes share. */
  startedAt: number;
  lastSeenAt: number;
  connections: number;
}

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface PutOptions {
  /** Writes only if the document has this version; with `null`, only if the document does not exist. */
  ifVersion?: string | null;
  /** Milliseconds since 1970. Watchers are not notified of the expiry. Default: never. */
  expiresAt?: number;
  /** Writes only while this node holds the lease. Default: always. */
  fence?: Fence;
}

export interface StoredDocument {
  value: Json;
  /** Every write changes the version. */
  version: string;
}

/**
 * Small records that survive a restart: accounts, devices, revocations, command queues. A write is durable once its
 * promise resolves. Readers validate documents with their own schema. After a {@link StoreUnavailableError}, a write
 * has usually not happened; with Redis, it may have happened or may still happen: read the document again.
 */
export interface Documents {
  /**
   * All methods throw {@link StoreUnavailableError}, RangeError when a value exceeds `limits.ts`, and
   * {@link LeaseLostError} when this node does not hold the lease.
   */
  get(collection: string, key: string): Promise<StoredDocument | undefined>;
  /** @param prefix only keys that begin with this ASCII text. Default: all */
  list(collection: string, prefix?: string): Promise<readonly (StoredDocument & { key: string })[]>;
  /** @returns the new version; undefined when `ifVersion` does not match */
  put(collection: string, key: string, value: Json, options?: PutOptions): Promise<string | undefined>;
  /** @returns false when the document does not exist, or has another version */
  delete(collection: string, key: string, options?: { ifVersion?: string; fence?: Fence }): Promise<boolean>;
  /**
   * Calls back with the key of a changed document, whichever node changed it. Calls back with undefined when changes
   * may have been missed: read the whole collection again.
   */
  watch(collection: string, onChange: (key: string | undefined) => void): () => void;
}

/**
 * Messages from one node to all running nodes, including itself. Messages of one sender arrive in order. Messages are
 * not stored: while Redis is unreachable, a message reaches only its own node. Once Redis is reachable again, the other
 * nodes learn that they missed messages.
 */
export interface Signals {
  /** @throws {RangeError} the message is larger than 1 MiB of JSON */
  send(name: string, message: Json): void;
  /** @param onMissed called when messages may have been missed, for example after the connection to Redis was lost */
  on(name: string, onMessage: (message: Json, from: string) => void, onMissed?: () => void): () => void;
}

/** At most one node holds the lease of a name. The leases of a dead node expire after 10 seconds. */
export interface Leases {
  /** @returns undefined when the lease is held already @throws {StoreUnavailableError} */
  acquire(name: string): Promise<Lease | undefined>;
}

/**
 * What the holder of a lease writes carries its {@link Fence}. Redis refuses the write unless this lease is still held,
 * because a node that was suspended does not know yet that another node holds the lease by now.
 */
export interface Lease {
  readonly fence: Fence;
  /** Aborts when the lease was not renewed in time, or was given up. */
  readonly lost: AbortSignal;
  /** Gives the lease up, because the store has refused a write. */
  lose(): void;
  release(): Promise<void>;
}

export interface Fence {
  /** The name of the lease. */
  readonly lease: string;
  /** Grows with each new holder of the lease. */
  readonly number: number;
}

/** The connections of each user to all nodes. */
export interface ConnectionRegister {
  /**
   * Never throws: while Redis is unreachable, only the user's connections to this node are counted. If all connections
   * were rejected, every dashboard that is reloaded would be locked out. The limit protects a node's capacity, so this
   * node's own count is enough. The price: during the outage, a user may open as many connections to each node as the
   * limit allows. After the outage, all connections are registered and counted.
   * @param limit 0 for no limit
   * @returns releases the connection, idempotently; undefined when the user has reached the limit
   */
  enter(userId: string, connectionId: string, limit: number): Promise<(() => void) | undefined>;
  total(): Promise<number>;
}

/** A window begins with its first event. */
export interface RateWindow {
  name: string;
  key: string;
  /** Events in the window. Infinity: no limit. */
  limit: number;
}

/** Limits of events in a time, for all nodes together. All methods throw {@link StoreUnavailableError}. */
export interface Rates {
  /**
   * Counts an event in each window, and no event of another node in between: of simultaneous events, the same ones
   * exceed the limit in all windows.
   * @param windowMs default a minute
   * @returns for each window 0, or the milliseconds until the window ends if the event exceeds the limit
   */
  exceededForMs(windows: readonly RateWindow[], windowMs?: number): Promise<number[]>;
  /** Takes back one event of the window, or all of them. */
  forget(name: string, key: string, events: "one" | "all"): Promise<void>;
}

/** Counters summed over all nodes, including stopped ones, since the first start of any node. */
export interface Counters {
  /**
   * Adds to the sums. A repeated `batch` is not added again, so a call without a reply must be repeated unchanged.
   * @param batch the number of this node's batch, from 1
   * @param by what to add to each counter: a whole number by the counter's name
   * @throws {StoreUnavailableError} the batch may or may not have been added
   */
  add(batch: number, by: Readonly<Record<string, number>>): Promise<CounterSums>;
}

export interface CounterSums {
  /** When the first node started counting, milliseconds since 1970. */
  since: number;
  sums: ReadonlyMap<string, number>;
}
