import { setTimeout as after } from "node:timers/promises";
import type { Redis } from "ioredis";
import { StoreUnavailableError } from "../errors.ts";
import { destroyClient } from "./client.ts";
import { isFailureOfRedis, isOtherMaster, redisFailureReason } from "./failure-reason.ts";
import type { RedisAddress } from "./redis-url.ts";
import type { Script } from "./script.ts";

/** The reply of a script. */
export type Reply = string | number | null | readonly Reply[];

/** A connection is pinged when it has sent nothing for this long, so that a Redis that stands still is noticed. */
export const PING_MS = 500;
/**
 * After a reply that took longer, or while a command waits for longer, the Sentinels or the Redis Cluster must confirm
 * the master. Together with {@link PING_MS}, less than `down-after-milliseconds` or `cluster-node-timeout` may be.
 */
export const LATE_MS = 1_000;
/** The most commands without a reply. Further commands fail: a slow Redis must not exhaust memory. */
export const MAX_PENDING_COMMANDS = 20_000;
const CLOSED = redisFailureReason(new Error("Connection is closed."));
/** How long replicas may take to confirm a write. Nothing else is sent over the connection meanwhile. */
const REPLICATION_TIMEOUT_MS = 500;
const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 2_000;

/** An open connection to a Redis that has said that it is a master and has loaded its data. */
export interface OpenedConnection {
  client: Redis;
  address: RedisAddress;
  runId: string;
}

/** A connection that is being opened. */
export interface Opening {
  abort: AbortController;
  /** Set as soon as it is known. */
  address: RedisAddress | undefined;
  /** Called with the reason while Redis loads its data. */
  onLoading(reason: string): void;
}

/** What a connection needs of the node that owns it. */
export interface ConnectionOwner {
  /** @throws it cannot be opened, or was aborted */
  open(name: string, opening: Opening): Promise<OpenedConnection>;
  /** Asks from now on. @throws {StoreUnavailableError} the master is another, is about to be another, or nobody can say */
  confirm(address: RedisAddress): Promise<void>;
  /** Called when a command failed because its Redis is no longer the master. */
  onOtherMaster(address: RedisAddress, reason: string): void;
  /** Called when a command failed, not because of its arguments. */
  onFailed(connection: Connection, reason: string): void;
  onChanged(connection: Connection): void;
}

interface Call {
  /** By the running time, milliseconds. */
  sentAt: number;
}

interface Lasting extends OpenedConnection {
  /** The commands without a reply, in the order of sending. */
  pending: Set<Call>;
  lastSentAt: number;
  /** The newest confirmation of the master that is under way. Replies wait for it. */
  confirming: Promise<void> | undefined;
  isBroken: boolean;
}

/** When a write counts as done. */
export interface Replication {
  /** How many replicas must have it. 0: none. */
  replicas: number;
  /** The key that {@link Connection.replicated} writes. */
  key: string;
}

interface ConnectionOptions {
  name: string;
  replication: Replication;
  owner: ConnectionOwner;
  /** After a command without a reply for this long, the connection is replaced. */
  timeoutMs: number;
  /** How long Redis may block a command of this connection. Default 0. */
  blockMs?: number;
}

/**
 * One connection of the node, which is opened again whenever it breaks. A command fails at once while it is broken, and is
 * never sent twice: after a failure, Redis may have run it or may still run it. A reply that came from a Redis that is
 * no longer the master is a failure.
 */
export class Connection {
  readonly name: string;
  /** Whether the connection was open at any time. */
  wasOpen = false;
  readonly #owner: ConnectionOwner;
  readonly #replication: Replication;
  readonly #timeoutMs: number;
  readonly #lateMs: number;
  readonly #readyListeners = new Set<(client: Redis) => void>();
  #lasting: Lasting | undefined;
  #opening: Opening | undefined;
  /** The wait for the next attempt. */
  #waiting: AbortController | undefined;
  #reason = "Redis is not connected yet; the server retries by itself";
  /** Redis answers, but still loads its data. */
  #isLoading = false;
  #lastError: unknown;
  readonly #changeListeners = new Set<() => void>();
  #isClosed = false;

  constructor({ name, owner, replication, timeoutMs, blockMs = 0 }: ConnectionOptions) {
    this.name = name;
    this.#owner = owner;
    this.#replication = replication;
    this.#timeoutMs = timeoutMs + blockMs;
    this.#lateMs = LATE_MS + blockMs;
    void this.#keepOpen();
  }

  get isReady(): boolean {
    return this.#lasting !== undefined;
  }

  /** Why commands fail; undefined when they can be sent. For an operator. */
  get unavailableReason(): string | undefined {
    return this.#lasting === undefined ? this.#reason : undefined;
  }

  /** The last failure to open the connection. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** The master that this connection is open to. */
  get opened(): OpenedConnection | undefined {
    return this.#lasting;
  }

  /** Calls back now, if the connection is open, and whenever it is opened again. @returns stops that */
  onReady(listener: (client: Redis) => void): () => void {
    this.#readyListeners.add(listener);
    if (this.#lasting !== undefined) listener(this.#lasting.client);
    return () => void this.#readyListeners.delete(listener);
  }

  /**
   * Resolves when commands can be sent. The time in which Redis loads its data does not count.
   * @param isFatal whether no later attempt can succeed. Default: each may
   * @throws {StoreUnavailableError} after `timeoutMs`, or the connection was closed
   */
  async ready(timeoutMs: number, isFatal: (error: unknown) => boolean = () => false): Promise<void> {
    for (let leftMs = timeoutMs; this.#lasting === undefined; ) {
      if (this.#isClosed || leftMs <= 0 || isFatal(this.#lastError)) throw new StoreUnavailableError(this.#reason);
      const since = performance.now();
      await this.#nextChange(leftMs);
      if (!this.#isLoading) leftMs -= performance.now() - since;
    }
  }

  async #nextChange(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#changeListeners.add(resolve);
      timer = setTimeout(resolve, timeoutMs);
    });
    clearTimeout(timer);
  }

  /** @param keys the first key that the script uses, or more @throws {StoreUnavailableError} */
  async run(
    script: Script,
    keys: string | readonly string[],
    args: readonly (string | Buffer | number)[],
  ): Promise<Reply> {
    const all = typeof keys === "string" ? [keys] : keys;
    return await this.do(async (redis) => asReply(await script.run(redis, all, args)));
  }

  /** Whether {@link replicated} waits for anything. */
  get waitsForReplicas(): boolean {
    return this.#replication.replicas > 0;
  }

  /**
   * Resolves when enough replicas have everything that Redis wrote before this call: a failover does not lose it, and it
   * may be acknowledged.
   * @throws {StoreUnavailableError} too few replicas have confirmed. Redis has written it nevertheless
   */
  async replicated(): Promise<void> {
    const { replicas, key } = this.#replication;
    if (replicas === 0) return;
    await this.do(async (redis) => {
      // WAIT is about the last write of its own connection, and others may have written since.
      const [, confirmed] = await Promise.all([redis.set(key, ""), redis.wait(replicas, REPLICATION_TIMEOUT_MS)]);
      if (confirmed < replicas) throw new Error(`only ${confirmed} of ${replicas} replicas confirm writes`);
    });
  }

  /** @throws {StoreUnavailableError} */
  async do<Result>(command: (redis: Redis) => Promise<Result>): Promise<Result> {
    const lasting = this.#lasting ?? (await this.#firstOpened());
    if (lasting.pending.size >= MAX_PENDING_COMMANDS)
      throw new StoreUnavailableError(`${MAX_PENDING_COMMANDS} commands already wait for Redis: Redis is too slow`);
    const call = { sentAt: performance.now() };
    lasting.pending.add(call);
    lasting.lastSentAt = call.sentAt;
    try {
      const reply = await command(lasting.client);
      lasting.pending.delete(call);
      if (performance.now() - call.sentAt > this.#lateMs) this.#confirm(lasting);
      if (lasting.confirming !== undefined) await lasting.confirming;
      if (lasting.isBroken) throw new Error("Connection is closed.");
      return reply;
    } catch (error) {
      lasting.pending.delete(call);
      throw this.#failed(lasting, error);
    }
  }

  /** The first commands wait until the connection is open. @throws {StoreUnavailableError} */
  async #firstOpened(): Promise<Lasting> {
    if (!this.wasOpen) await this.ready(this.#timeoutMs);
    if (this.#lasting === undefined) throw new StoreUnavailableError(this.#reason);
    return this.#lasting;
  }

  /** Opens the connection now, if it waits for its next attempt: Redis can be reached. */
  retry(): void {
    this.#waiting?.abort();
  }

  /** Replaces the connection. Commands without a reply fail. */
  interrupt(reason = CLOSED): void {
    if (this.#lasting !== undefined) this.#break(this.#lasting, reason);
    else this.#opening?.abort.abort();
  }

  /** The address that this connection leads to, or is about to lead to. */
  get address(): RedisAddress | undefined {
    return this.#lasting?.address ?? this.#opening?.address;
  }

  /** Looks after a connection that is silent. Called at an interval. */
  tick(): void {
    const lasting = this.#lasting;
    if (lasting === undefined) return;
    const now = performance.now();
    const [oldest] = lasting.pending;
    const waitedMs = oldest === undefined ? 0 : now - oldest.sentAt;
    if (waitedMs > this.#timeoutMs) this.#break(lasting, redisFailureReason(new Error("timed out")));
    else if (waitedMs > this.#lateMs) this.#confirm(lasting);
    else if (oldest === undefined && now - lasting.lastSentAt >= PING_MS)
      this.do((redis) => redis.ping()).catch(() => {});
  }

  /** @param graceMs how long Redis may take to answer what was sent */
  async close(graceMs = 0): Promise<void> {
    const lasting = this.#lasting;
    this.#isClosed = true;
    this.#reason = "the program is stopping";
    this.#changed();
    this.#opening?.abort.abort();
    if (lasting === undefined) return;
    this.#lasting = undefined;
    if (graceMs > 0) {
      const left = new AbortController();
      const late = after(graceMs, undefined, { signal: left.signal }).catch(() => {});
      await Promise.race([lasting.client.quit().catch(() => {}), late]);
      left.abort();
    }
    destroyClient(lasting.client);
  }

  async #keepOpen(): Promise<void> {
    for (let attempt = 0; !this.#isClosed; attempt++) {
      try {
        await this.#open();
        attempt = -1;
      } catch (error) {
        if (!this.#isClosed) this.#isLost(error);
      }
      if (!this.#isClosed) await this.#retryDelay(Math.max(0, attempt));
    }
  }

  async #retryDelay(attempt: number): Promise<void> {
    this.#waiting = new AbortController();
    const { signal } = this.#waiting;
    await after(retryDelayMs(attempt), undefined, { signal, ref: false }).catch(() => {});
    this.#waiting = undefined;
  }

  /** Opens the connection. Resolves when it has ended. */
  async #open(): Promise<void> {
    const onLoading = (reason: string) => {
      this.#isLoading = true;
      this.#lastError = new Error("LOADING Redis is loading its data");
      this.#change(reason);
    };
    this.#opening = { abort: new AbortController(), address: undefined, onLoading };
    const opened = await this.#owner.open(this.name, this.#opening).finally(() => {
      this.#isLoading = false;
      this.#opening = undefined;
    });
    if (this.#isClosed) {
      destroyClient(opened.client);
      return;
    }
    const { client } = opened;
    const ended =
      client.status === "end" ? undefined : new Promise<void>((resolve) => client.once("end", () => resolve()));
    const lastSentAt = performance.now();
    const lasting = { ...opened, pending: new Set<Call>(), lastSentAt, confirming: undefined, isBroken: false };
    this.#lasting = lasting;
    this.wasOpen = true;
    this.#changed();
    for (const listener of this.#readyListeners) listener(client);
    await ended;
    if (!lasting.isBroken && !this.#isClosed) this.#break(lasting, CLOSED);
  }

  #isLost(error: unknown): void {
    this.#lastError = error;
    this.#change(error instanceof StoreUnavailableError ? error.message : redisFailureReason(error));
  }

  #break(lasting: Lasting, reason: string): void {
    lasting.isBroken = true;
    if (this.#lasting === lasting) this.#lasting = undefined;
    this.#change(reason);
    destroyClient(lasting.client);
  }

  #change(reason: string): void {
    if (this.#isClosed) return;
    this.#reason = reason;
    this.#changed();
  }

  #changed(): void {
    this.#owner.onChanged(this);
    for (const listener of this.#changeListeners) listener();
    this.#changeListeners.clear();
  }

  /** The replies that are there now count only if the master is confirmed by those who are asked from now on. */
  #confirm(lasting: Lasting): void {
    if (lasting.isBroken) return;
    const confirming = this.#owner.confirm(lasting.address);
    lasting.confirming = confirming;
    // Without a confirmation, Redis may still be the master: only the replies that wait are not believed.
    confirming
      .catch(() => {})
      .finally(() => {
        if (lasting.confirming === confirming) lasting.confirming = undefined;
      });
  }

  #failed(lasting: Lasting, error: unknown): StoreUnavailableError {
    if (error instanceof StoreUnavailableError) return error;
    if (lasting.isBroken || this.#isClosed) return new StoreUnavailableError(this.#reason, { cause: error });
    const reason = redisFailureReason(error);
    if (isOtherMaster(error)) this.#owner.onOtherMaster(lasting.address, reason);
    if (isFailureOfRedis(error)) this.#owner.onFailed(this, reason);
    return new StoreUnavailableError(reason, { cause: error });
  }
}

export function partsOf(reply: Reply): readonly Reply[] {
  return typeof reply === "object" && reply !== null ? reply : [];
}

function asReply(reply: unknown): Reply {
  if (typeof reply === "string" || typeof reply === "number" || reply === null) return reply;
  if (Array.isArray(reply)) return reply.map(asReply);
  throw new TypeError("a script returned a value of an unexpected type");
}

/** Doubles after each attempt. The jitter spreads the reconnects of many nodes. */
function retryDelayMs(attempt: number): number {
  const delay = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 10));
  return Math.round(delay * (0.75 + Math.random() / 4));
}
