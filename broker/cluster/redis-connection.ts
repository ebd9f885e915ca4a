import type { Cluster, Redis } from "ioredis";
import type { Logger } from "pino";
import { FAIL_FAST, type RedisConnections } from "../../platform/redis/connections.ts";
import { StorageUnavailableError } from "../aedes/errors.ts";

/** A Redis that hangs closes no connection: without a timeout no command would ever end. */
const COMMAND_TIMEOUT_MS = 5_000;
/** With no answer for so long, nothing new is to be accepted. Less is a connection that is made anew. */
export const TROUBLED_AFTER_MS = 2_000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
/** Failures before the log speaks of them: the first ones may come before the connection is made. */
const WARNED_AT = 3;

/** A connection whose commands are tried until Redis has answered them. */
export class SteadyConnection {
  readonly #connection: Redis | Cluster;
  readonly #logger: Logger;
  #failures = 0;
  #closed = false;
  /** Why the connection itself failed last. */
  #broken: string | undefined;
  /** What Redis or the way to it last objected; undefined while it answers. */
  unavailableReason: string | undefined;

  constructor(redis: RedisConnections, name: string, logger: Logger) {
    this.#connection = redis.connect(name, {
      ...FAIL_FAST,
      commandTimeout: COMMAND_TIMEOUT_MS,
      keyPrefix: `${redis.prefix}mqtt:`,
    });
    this.#logger = logger.child({ connection: name });
    this.#connection.on("error", (error: unknown) => {
      this.#broken = messageOf(error);
    });
    this.#connection.on("ready", () => {
      this.#broken = undefined;
    });
  }

  /**
   * Does it, again and again while Redis does not answer. So it must be harmless to do it twice: a command that timed
   * out may have been carried out.
   * @throws {StorageUnavailableError} the connection is closed
   */
  async until<Result>(command: (connection: Redis | Cluster) => Promise<Result>): Promise<Result> {
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
    this.unavailableReason = this.#broken ?? why;
    if (this.#failures === WARNED_AT)
      this.#logger.warn({ why: this.unavailableReason }, "redis does not take what the broker stores");
    // What is sent to a Redis that hangs piles up in the connection.
    if (why === "Command timed out") this.#connection.disconnect(true);
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#failures++, 10));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
