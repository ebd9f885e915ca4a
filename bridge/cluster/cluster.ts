/**
 * What the nodes of one deployment know together. A node without Redis is a cluster of one and keeps the same things
 * under `DATA_PATH`; with Redis any number of nodes share them. Everything that must hold "over all nodes" (limits,
 * revocations, accounts, commands) goes through here and nowhere else.
 */
export interface Cluster {
  /** This run of this node: random, new at each start. */
  readonly nodeId: string;
  /** Whether the store is shared, and so beside this program: while it is away, nothing can be read from it either. */
  readonly shared: boolean;
  readonly documents: Documents;
  readonly signals: Signals;
  readonly leases: Leases;
  readonly connections: ConnectionRegister;
  /** Undefined for a node that is alone: it keeps its sums itself. */
  readonly counters: Counters | undefined;
  /** The nodes that gave a sign of life within the last 30 seconds, this one among them. */
  nodes(): Promise<readonly ClusterNode[]>;
  /** Undefined while the shared store takes writes; else why it does not, in words for an operator. */
  readonly unavailableReason: string | undefined;
  /**
   * Tests the shared store with a write that means nothing; it takes 2 seconds at most.
   * @throws {StoreUnavailableError}
   */
  check(): Promise<void>;
  /** Leaves: other nodes forget its connections and leases at once. Idempotent. */
  stop(): Promise<void>;
}

export interface ClusterNode {
  id: string;
  /** Milliseconds since 1970. */
  startedAt: number;
  lastSeenAt: number;
  connections: number;
}

/** A JSON value that is stored. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface StoredDocument {
  value: Json;
  /** Changes with every write. */
  version: string;
}

/**
 * Small records that outlive a restart: accounts, devices, revocations, command queues. Durable once the promise
 * resolves. Readers parse what they read with a schema of their own. A write that throws
 * {@link StoreUnavailableError} was probably not made, but with Redis it may have been, or may yet be: look again.
 */
export interface Documents {
  /**
   * @throws {StoreUnavailableError} as do all below
   * @throws {RangeError} a name or a value beyond the limits of `limits.ts`, as do all below
   */
  get(collection: string, key: string): Promise<StoredDocument | undefined>;
  list(collection: string): Promise<readonly (StoredDocument & { key: string })[]>;
  /**
   * @param options.ifVersion writes only over this version; `null`: only when there is no such document
   * @param options.expiresAt milliseconds since 1970; gone afterwards, which watchers are not told. Default: never
   * @returns the new version; undefined when another version is there
   */
  put(
    collection: string,
    key: string,
    value: Json,
    options?: { ifVersion?: string | null; expiresAt?: number },
  ): Promise<string | undefined>;
  /** @returns false when there was none, or one of another version */
  delete(collection: string, key: string, options?: { ifVersion?: string }): Promise<boolean>;
  /**
   * Calls back with the key of each document that any node has changed, soon after; with undefined when changes may
   * have been missed, so that everything is to be read again.
   */
  watch(collection: string, onChange: (key: string | undefined) => void): () => void;
}

/**
 * Messages from one node to all that run now, this one included; in order per sender, not kept for anybody. While Redis
 * is away a message reaches its own node only; the others are told that they have missed something once it is back.
 */
export interface Signals {
  /** @throws {RangeError} the message is larger than 1 MiB of JSON */
  send(name: string, message: Json): void;
  /** @param onMissed called when messages may have been missed, as after a lost connection to Redis */
  on(name: string, onMessage: (message: Json, from: string) => void, onMissed?: () => void): () => void;
}

/** At most one holder of a name over all nodes. A node that dies loses its leases after 10 seconds. */
export interface Leases {
  /** @returns undefined when somebody else has it. `lost` aborts when it could not be renewed in time. */
  acquire(name: string): Promise<{ lost: AbortSignal; release(): Promise<void> } | undefined>;
}

/** How many connections each user has, over all nodes. */
export interface ConnectionRegister {
  /**
   * Never throws: while Redis is away the user's connections at this node alone are counted. To refuse everybody would
   * lock out each dashboard that is reloaded during an outage, though what the limit protects, the room at a node, is
   * protected by that count; the price is that a user may have as many at each node. Once Redis is back they are
   * registered, and all count.
   * @param limit 0 is no limit
   * @returns undefined when the user has as many as allowed; release is idempotent
   */
  enter(userId: string, connectionId: string, limit: number): Promise<(() => void) | undefined>;
  /** Over all nodes. */
  total(): Promise<number>;
}

/** Sums over all nodes since the first start. They outlive all nodes. */
export interface Counters {
  /**
   * Adds to the sums. The same `batch` again adds nothing: what was not answered is to be said again as it was.
   * @param batch numbers a node's batches, from 1
   * @param by whole numbers, by name
   * @throws {StoreUnavailableError} not known whether it was added
   */
  add(batch: number, by: Readonly<Record<string, number>>): Promise<CounterSums>;
}

export interface CounterSums {
  /** When the first node began to count, milliseconds since 1970. */
  since: number;
  sums: ReadonlyMap<string, number>;
}
