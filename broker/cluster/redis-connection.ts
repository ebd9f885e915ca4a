import type { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import { FAIL_FAST, type RedisConnections } from "../../platform/redis/connections.ts";
import { isTimeout } from "../../platform/redis/failure-reason.ts";

/** A Redis server that hangs closes no connections: without a timeout, commands would never fail. */
const COMMAND_TIMEOUT_MS = 5_000;
/** Redis counts as unavailable when it has not answered for this long, which is longer than reconnecting takes. */
export const UNAVAILABLE_AFTER_MS = 2_000;
const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;
/**
 * A warning is logged at this many consecutive failures: the first commands may fail because Redis is not connected
 * yet.
 */
const WARNED_AT = 3;

/** The store does not accept operations at the moment. */
export class StorageUnavailableError extends Error {
  override name = "StorageUnavailableError";
}

/** A connection whose commands are retried until Redis has answered them. */
export class RetryingConnection {
  readonly #connection: Redis | Cluster;
  readonly #logger: Logger;
  #failures = 0;
  #closed = false;
  /** The last error of the connection itself; undefined while connected. */
  #connectionError: string | undefined;
  /** The last error of Redis or of the connection; undefined while Redis answers. */
  unavailableReason: string | undefined;

  constructor(redis: RedisConnections, name: string, logger: Logger) {
    this.#connection = redis.connect(name, {
      ...FAIL_FAST,
      commandTimeout: COMMAND_TIMEOUT_MS,
      keyPrefix: `${redis.prefix}mqtt:`,
    });
    this.#logger = logger.child({ connection: name });
    this.#connection.on("error", (error: unknown) => {
      this.#connectionError = messageOf(error);
    });
    this.#connection.on("ready", () => {
      this.#connectionError = undefined;
    });
  }

  /**
   * Runs the command until Redis answers. It must be idempotent: Redis may have executed a command that timed out.
   * @throws {StorageUnavailableError} the connection is closed
   */
  async retry<Result>(command: (connection: Redis | Cluster) => Promise<Result>): Promise<Result> {
    for (;;) {
      if (this.#closed) throw new StorageUnavailableError("the connection to Redis is closed");
      try {
        const result = await command(this.#connection);
        this.#answered();
        return result;
      } catch (error) {
        if (!this.#closed) await this.#failed(error);
      }
    }
  }

  close(): void {
    this.#closed = true;
    this.#connection.disconnect();
  }

  #answered(): void {
    if (this.#failures > WARNED_AT) this.#logger.info({ failures: this.#failures }, "redis answers again");
    this.#failures = 0;
    this.unavailableReason = undefined;
  }

  async #failed(error: unknown): Promise<void> {
    const why = messageOf(error);
    this.unavailableReason = this.#connectionError ?? why;
    if (this.#failures === WARNED_AT)
      this.#logger.warn({ why: this.unavailableReason }, "redis unavailable to the broker");
    // Commands to a Redis server that hangs would accumulate in the connection.
    if (isTimeout(error)) this.#connection.disconnect(true);
    const pause = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(this.#failures++, 10));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
