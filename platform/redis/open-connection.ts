import type { Redis } from "ioredis";
import { StoreUnavailableError } from "../errors.ts";
import type { RedisAddress } from "./redis-url.ts";

/** A connection is pinged when it has sent nothing for this long, so that a Redis that stands still is noticed. */
export const PING_MS = 500;
/**
 * After a reply that took longer, or while a command waits for longer, the Sentinels or the Redis Cluster must confirm
 * the master. Together with {@link PING_MS}, less than `down-after-milliseconds` or `cluster-node-timeout` may be.
 */
export const LATE_MS = 1_000;
/** The most commands without a reply. Further commands fail: a slow Redis must not exhaust memory. */
export const MAX_PENDING_COMMANDS = 20_000;

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

interface Call {
  /** By the running time, milliseconds. */
  sentAt: number;
}

interface OpenConnectionOptions extends OpenedConnection {
  /** After a command without a reply for this long, the connection must be replaced. */
  timeoutMs: number;
  /** How long Redis may block a command of this connection. */
  blockMs: number;
  /** Asks who the master is, from now on. @throws {StoreUnavailableError} this Redis may not be the master */
  confirm(address: RedisAddress): Promise<void>;
}

/** The commands of one open connection. The reply to a late command counts only if Redis is still the master. */
export class OpenConnection implements OpenedConnection {
  readonly client: Redis;
  readonly address: RedisAddress;
  readonly runId: string;
  /** Replies do not count any more. */
  isBroken = false;
  readonly #timeoutMs: number;
  readonly #lateMs: number;
  readonly #askForMaster: OpenConnectionOptions["confirm"];
  /** The commands without a reply, in the order of sending. */
  readonly #pending = new Set<Call>();
  #lastSentAt = performance.now();
  /** The newest confirmation of the master that is under way. Replies wait for it. */
  #confirming: Promise<void> | undefined;

  constructor({ client, address, runId, timeoutMs, blockMs, confirm }: OpenConnectionOptions) {
    this.client = client;
    this.address = address;
    this.runId = runId;
    this.#timeoutMs = timeoutMs + blockMs;
    this.#lateMs = LATE_MS + blockMs;
    this.#askForMaster = confirm;
  }

  /** @throws {StoreUnavailableError} too many commands wait, or the master is not confirmed @throws errors of Redis */
  async do<Result>(command: (redis: Redis) => Promise<Result>): Promise<Result> {
    if (this.#pending.size >= MAX_PENDING_COMMANDS)
      throw new StoreUnavailableError(`${MAX_PENDING_COMMANDS} commands already wait for Redis: Redis is too slow`);
    const call = { sentAt: performance.now() };
    this.#pending.add(call);
    this.#lastSentAt = call.sentAt;
    try {
      const reply = await command(this.client);
      if (performance.now() - call.sentAt > this.#lateMs) this.#confirm();
      this.#pending.delete(call);
      if (this.#confirming !== undefined) await this.#confirming;
      if (this.isBroken) throw new Error("Connection is closed.");
      return reply;
    } finally {
      this.#pending.delete(call);
    }
  }

  /** `late`: the oldest command waits too long. `idle`: nothing was sent for a while. Called at an interval. */
  check(): "late" | "idle" | "busy" {
    const now = performance.now();
    const [oldest] = this.#pending;
    if (oldest === undefined) return now - this.#lastSentAt >= PING_MS ? "idle" : "busy";
    const waitedMs = now - oldest.sentAt;
    if (waitedMs > this.#timeoutMs) return "late";
    if (waitedMs > this.#lateMs) this.#confirm();
    return "busy";
  }

  /** The replies that are there now count only if the master is confirmed by those who are asked from now on. */
  #confirm(): void {
    if (this.isBroken) return;
    const confirming = this.#askForMaster(this.address);
    this.#confirming = confirming;
    // Without a confirmation, Redis may still be the master: only the replies that wait are not believed.
    confirming
      .catch(() => {})
      .finally(() => {
        if (this.#confirming === confirming) this.#confirming = undefined;
      });
  }
}
