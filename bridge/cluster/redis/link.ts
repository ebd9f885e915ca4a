import { once } from "node:events";
import type { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import { messageOf, StoreUnavailableError } from "../../../platform/errors.ts";
import { FAIL_FAST, type RedisConnections } from "../../../platform/redis/connections.ts";
import { isTimeout, redisFailureReason } from "../../../platform/redis/failure-reason.ts";
import type { Script } from "../../../platform/redis/script.ts";

interface LinkOptions {
  redis: RedisConnections;
  logger: Logger;
  commandTimeoutMs: number;
}

/** The most commands without a reply. Further commands fail: a slow Redis must not exhaust memory. */
export const MAX_PENDING_COMMANDS = 20_000;

/**
 * The connection for all commands of the cluster. After a failed command, the link rejects further commands at once,
 * without sending them. Only {@link Link.probe} still sends its script; when it succeeds, the link is available again.
 */
export class Link {
  readonly redis: Redis | Cluster;
  readonly prefix: string;
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  #unavailableReason: string | undefined;
  #pending = 0;
  #reconnecting = false;
  #stopped = false;

  constructor({ redis, logger, commandTimeoutMs }: LinkOptions) {
    this.prefix = redis.prefix;
    this.#logger = logger;
    this.#timeoutMs = commandTimeoutMs;
    // A caller waits for each reply: an immediate failure is better than a reply after minutes.
    this.redis = redis.connect("cluster", { ...FAIL_FAST, commandTimeout: commandTimeoutMs });
  }

  get unavailableReason(): string | undefined {
    return this.#unavailableReason;
  }

  key(name: string): string {
    return `${this.prefix}cluster:${name}`;
  }

  /** @throws {StoreUnavailableError} */
  run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.do((redis) => script.run(redis, keys, args));
  }

  /** @throws {StoreUnavailableError} */
  async do<Reply>(command: (redis: Redis | Cluster) => Promise<Reply>): Promise<Reply> {
    if (this.#unavailableReason !== undefined) throw new StoreUnavailableError(this.#unavailableReason);
    return await this.#send(command);
  }

  /** Reads all fields of a hash, about `count` in each step, so that Redis is never blocked for long. */
  async readHash(key: string, count: number): Promise<Map<string, string>> {
    // HSCAN may return a field twice when the hash changes meanwhile: the map holds it once.
    const found = new Map<string, string>();
    let cursor = "0";
    do {
      const from = cursor;
      const [next, fields] = await this.do((redis) => redis.hscan(key, from, "COUNT", count));
      for (let index = 0; index < fields.length; index += 2) found.set(fields[index] ?? "", fields[index + 1] ?? "");
      cursor = next;
    } while (cursor !== "0");
    return found;
  }

  /** Runs even while the link is unavailable; success makes it available. @throws {StoreUnavailableError} */
  async probe(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    const reply = await this.#send((redis) => script.run(redis, keys, args));
    if (this.#unavailableReason !== undefined) this.#logger.info("redis accepts writes again");
    this.#unavailableReason = undefined;
    return reply;
  }

  /** Resolves when the connection is ready, or after the timeout. */
  async connected(timeoutMs: number): Promise<void> {
    if (this.redis.status === "ready") return;
    await once(this.redis, "ready", { signal: AbortSignal.timeout(timeoutMs) }).catch(() => {});
  }

  stop(): void {
    this.#stopped = true;
    this.#unavailableReason = "the program is stopping";
    this.redis.disconnect();
  }

  async #send<Reply>(command: (redis: Redis | Cluster) => Promise<Reply>): Promise<Reply> {
    if (this.#stopped) throw new StoreUnavailableError("the program is stopping");
    if (this.#pending >= MAX_PENDING_COMMANDS)
      throw new StoreUnavailableError(`${MAX_PENDING_COMMANDS} commands already wait for Redis: Redis is too slow`);
    this.#pending++;
    let timer: NodeJS.Timeout | undefined;
    try {
      // ioredis restarts its own timeout when a Redis Cluster redirects a command.
      const timeout = new Promise<never>((_, reject) => {
        const error = new Error(`timed out after ${this.#timeoutMs} ms`);
        timer = setTimeout(() => reject(error), this.#timeoutMs + 100);
      });
      return await Promise.race([command(this.redis), timeout]);
    } catch (error) {
      throw this.#failed(error);
    } finally {
      clearTimeout(timer);
      this.#pending--;
    }
  }

  /** Replaces the connection once, however many of its commands fail. */
  #reconnect(): void {
    if (this.#reconnecting || this.redis.status !== "ready") return;
    this.#reconnecting = true;
    this.redis.once("close", () => {
      this.#reconnecting = false;
    });
    this.redis.disconnect(true);
  }

  #failed(error: unknown): StoreUnavailableError {
    const unavailableReason = redisFailureReason(error);
    if (!this.#stopped) {
      if (this.#unavailableReason === undefined)
        this.#logger.error({ reason: messageOf(error), unavailableReason }, "redis unavailable");
      this.#unavailableReason = unavailableReason;
      // Commands would pile up on a connection that hangs. A new connection also shows when Redis is back.
      if (isTimeout(error)) this.#reconnect();
    }
    return new StoreUnavailableError(unavailableReason, { cause: error });
  }
}
