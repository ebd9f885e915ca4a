import { once } from "node:events";
import type { Cluster, Redis, RedisOptions } from "ioredis";
import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { Script } from "./script.ts";

/** The way to Redis, as the program gives it. */
export interface RedisAccess {
  connect(name: string, options?: Partial<RedisOptions>): Redis | Cluster;
  /** What every key begins with, hash tag included. */
  readonly prefix: string;
}

export interface LinkOptions {
  redis: RedisAccess;
  logger: Logger;
  commandTimeoutMs: number;
}

/** Commands that wait for their answers; more are refused, so that a slow Redis does not fill the memory. */
export const MAX_PENDING_COMMANDS = 20_000;

/** What Redis answers when it does not take writes, what that means, and what to do about it. */
const TROUBLES: readonly [said: RegExp, meaning: string][] = [
  [/^OOM/, "Redis has no memory left: raise its maxmemory, or keep less (RETENTION_EVENTS, RETENTION_HOURS)"],
  [/^MISCONF/, "Redis cannot write to its disk: see its log"],
  [/^READONLY/, "Redis is a replica and takes no writes: its master is being looked for"],
  [/^LOADING/, "Redis is still reading its data from the disk"],
  [/^NOREPLICAS/, "Redis has too few replicas to take writes: see min-replicas-to-write"],
  [/^(CLUSTERDOWN|TRYAGAIN|MASTERDOWN)/, "the Redis cluster is not complete"],
  [/^(NOAUTH|WRONGPASS|NOPERM)/, "Redis does not let this program in: see the user and the password in REDIS_URL"],
];

/**
 * Commands to Redis, and whether it takes them. A command that fails puts the link in trouble, in which commands are
 * refused at once, without asking; {@link Link.probe} alone still asks, and ends the trouble.
 */
export class Link {
  readonly redis: Redis | Cluster;
  readonly prefix: string;
  readonly #logger: Logger;
  readonly #timeoutMs: number;
  #trouble: string | undefined;
  #pending = 0;
  #closing = false;
  #stopped = false;

  constructor({ redis, logger, commandTimeoutMs }: LinkOptions) {
    this.prefix = redis.prefix;
    this.#logger = logger;
    this.#timeoutMs = commandTimeoutMs;
    this.redis = redis.connect("cluster", {
      // Somebody waits for each answer: better none at once than one after minutes.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
      commandTimeout: commandTimeoutMs,
    });
  }

  get unavailableReason(): string | undefined {
    return this.#trouble;
  }

  key(name: string): string {
    return `${this.prefix}cluster:${name}`;
  }

  /** @throws {StoreUnavailableError} */
  run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return this.ask((redis) => script.run(redis, keys, args));
  }

  /** @throws {StoreUnavailableError} */
  async ask<Answer>(question: (redis: Redis | Cluster) => Promise<Answer>): Promise<Answer> {
    if (this.#trouble !== undefined) throw new StoreUnavailableError(this.#trouble);
    return await this.#ask(question);
  }

  /** Asks though there is trouble; an answer ends it. @throws {StoreUnavailableError} */
  async probe(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    const answer = await this.#ask((redis) => script.run(redis, keys, args));
    if (this.#trouble !== undefined) this.#logger.info("redis takes writes again");
    this.#trouble = undefined;
    return answer;
  }

  /** Resolves when the connection is up, or after `timeoutMs`. */
  async connected(timeoutMs: number): Promise<void> {
    if (this.redis.status === "ready") return;
    await once(this.redis, "ready", { signal: AbortSignal.timeout(timeoutMs) }).catch(() => {});
  }

  stop(): void {
    this.#stopped = true;
    this.#trouble = "the program is stopping";
    this.redis.disconnect();
  }

  async #ask<Answer>(question: (redis: Redis | Cluster) => Promise<Answer>): Promise<Answer> {
    if (this.#stopped) throw new StoreUnavailableError("the program is stopping");
    if (this.#pending >= MAX_PENDING_COMMANDS)
      throw new StoreUnavailableError(`${MAX_PENDING_COMMANDS} commands wait for Redis already: it is too slow`);
    this.#pending++;
    let timer: NodeJS.Timeout | undefined;
    try {
      // The time-out of ioredis begins anew when a cluster sends a command elsewhere.
      const patience = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new TimeoutError(this.#timeoutMs)), this.#timeoutMs + 100);
      });
      return await Promise.race([question(this.redis), patience]);
    } catch (error) {
      throw this.#failed(error);
    } finally {
      clearTimeout(timer);
      this.#pending--;
    }
  }

  /** Once for a connection, however many commands it has failed. */
  #connectAnew(): void {
    if (this.#closing || this.redis.status !== "ready") return;
    this.#closing = true;
    this.redis.once("close", () => {
      this.#closing = false;
    });
    this.redis.disconnect(true);
  }

  #failed(error: unknown): StoreUnavailableError {
    const text = error instanceof Error ? error.message : String(error);
    const hangs = error instanceof TimeoutError || /timed out/.test(text);
    const unavailableReason =
      TROUBLES.find(([said]) => said.test(text))?.[1] ??
      (hangs ? `Redis does not answer within ${this.#timeoutMs} ms` : `Redis cannot be reached (${text})`);
    if (!this.#stopped) {
      if (this.#trouble === undefined) this.#logger.error({ reason: text, unavailableReason }, "redis takes no writes");
      this.#trouble = unavailableReason;
      // On a connection that hangs commands would pile up; a new one shows that Redis is back as well.
      if (hangs) this.#connectAnew();
    }
    return new StoreUnavailableError(unavailableReason, { cause: error });
  }
}

class TimeoutError extends Error {
  override name = "TimeoutError";

  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}
