import { setTimeout as after } from "node:timers/promises";
import type { Redis } from "ioredis";
import { StoreUnavailableError } from "../errors.ts";
import { destroyClient } from "./client.ts";
import { isFailureOfRedis, isOtherMaster, redisFailureReason } from "./failure-reason.ts";
import { OpenConnection, type OpenedConnection, type Opening } from "./open-connection.ts";
import type { RedisAddress } from "./redis-url.ts";
import { awaitReplicas, type Replication } from "./replication.ts";
import { asReply, type Reply } from "./reply.ts";
import type { Script } from "./script.ts";

const CLOSED = redisFailureReason(new Error("Connection is closed."));
const FIRST_RETRY_MS = 50;
const MAX_RETRY_MS = 2_000;

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
  readonly #blockMs: number;
  readonly #readyListeners = new Set<(client: Redis) => void>();
  #current: OpenConnection | undefined;
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
    this.#timeoutMs = timeoutMs;
    this.#blockMs = blockMs;
    void this.#keepOpen();
  }

  get isReady(): boolean {
    return this.#current !== undefined;
  }

  /** Why commands fail; undefined when they can be sent. For an operator. */
  get unavailableReason(): string | undefined {
    return this.#current === undefined ? this.#reason : undefined;
  }

  /** The last failure to open the connection. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** The master that this connection is open to. */
  get opened(): OpenedConnection | undefined {
    return this.#current;
  }

  /** Calls back now, if the connection is open, and whenever it is opened again. @returns stops that */
  onReady(listener: (client: Redis) => void): () => void {
    this.#readyListeners.add(listener);
    if (this.#current !== undefined) listener(this.#current.client);
    return () => void this.#readyListeners.delete(listener);
  }

  /**
   * Resolves when commands can be sent. The time in which Redis loads its data does not count.
   * @param isFatal whether no later attempt can succeed. Default: each may
   * @throws {StoreUnavailableError} after `timeoutMs`, or the connection was closed
   */
  async ready(timeoutMs: number, isFatal: (error: unknown) => boolean = () => false): Promise<void> {
    for (let leftMs = timeoutMs; this.#current === undefined; ) {
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
    if (this.waitsForReplicas) await this.do((redis) => awaitReplicas(redis, this.#replication));
  }

  /** @throws {StoreUnavailableError} */
  async do<Result>(command: (redis: Redis) => Promise<Result>): Promise<Result> {
    const open = this.#current ?? (await this.#firstOpened());
    try {
      return await open.do(command);
    } catch (error) {
      throw this.#failed(open, error);
    }
  }

  /** The first commands wait until the connection is open. @throws {StoreUnavailableError} */
  async #firstOpened(): Promise<OpenConnection> {
    if (!this.wasOpen) await this.ready(this.#timeoutMs + this.#blockMs);
    if (this.#current === undefined) throw new StoreUnavailableError(this.#reason);
    return this.#current;
  }

  /** Opens the connection now, if it waits for its next attempt: Redis can be reached. */
  retry(): void {
    this.#waiting?.abort();
  }

  /** Replaces the connection. Commands without a reply fail. */
  interrupt(reason = CLOSED): void {
    if (this.#current !== undefined) this.#break(this.#current, reason);
    else this.#opening?.abort.abort();
  }

  /** The address that this connection leads to, or is about to lead to. */
  get address(): RedisAddress | undefined {
    return this.#current?.address ?? this.#opening?.address;
  }

  /** Looks after a connection that is silent. Called at an interval. */
  tick(): void {
    const open = this.#current;
    if (open === undefined) return;
    const found = open.check();
    if (found === "late") this.#break(open, redisFailureReason(new Error("timed out")));
    else if (found === "idle") this.do((redis) => redis.ping()).catch(() => {});
  }

  /** @param graceMs how long Redis may take to answer what was sent */
  async close(graceMs = 0): Promise<void> {
    const open = this.#current;
    this.#isClosed = true;
    this.#reason = "the program is stopping";
    this.#changed();
    this.#opening?.abort.abort();
    if (open === undefined) return;
    this.#current = undefined;
    if (graceMs > 0) {
      const left = new AbortController();
      const late = after(graceMs, undefined, { signal: left.signal }).catch(() => {});
      await Promise.race([open.client.quit().catch(() => {}), late]);
      left.abort();
    }
    destroyClient(open.client);
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
    const confirm = (address: RedisAddress) => this.#owner.confirm(address);
    const open = new OpenConnection({ ...opened, timeoutMs: this.#timeoutMs, blockMs: this.#blockMs, confirm });
    this.#current = open;
    this.wasOpen = true;
    this.#changed();
    for (const listener of this.#readyListeners) listener(client);
    await ended;
    if (!open.isBroken && !this.#isClosed) this.#break(open, CLOSED);
  }

  #isLost(error: unknown): void {
    this.#lastError = error;
    this.#change(error instanceof StoreUnavailableError ? error.message : redisFailureReason(error));
  }

  #break(open: OpenConnection, reason: string): void {
    open.isBroken = true;
    if (this.#current === open) this.#current = undefined;
    this.#change(reason);
    destroyClient(open.client);
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

  #failed(open: OpenConnection, error: unknown): StoreUnavailableError {
    if (error instanceof StoreUnavailableError) return error;
    if (open.isBroken || this.#isClosed) return new StoreUnavailableError(this.#reason, { cause: error });
    const reason = redisFailureReason(error);
    if (isOtherMaster(error)) this.#owner.onOtherMaster(open.address, reason);
    if (isFailureOfRedis(error)) this.#owner.onFailed(this, reason);
    return new StoreUnavailableError(reason, { cause: error });
  }
}

/** Doubles after each attempt. The jitter spreads the reconnects of many nodes. */
function retryDelayMs(attempt: number): number {
  const delay = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 10));
  return Math.round(delay * (0.75 + Math.random() / 4));
}
