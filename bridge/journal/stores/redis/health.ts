import type { Logger } from "pino";
import { redisFailureReason } from "../../../../platform/redis/failure-reason.ts";

/**
 * Whether the journal works: writing, which a write proves, and reading the log, which is how entries of other nodes
 * come. Each is in trouble from a failure until it works again.
 */
export class Health {
  readonly #logger: Logger;
  #writing: string | undefined;
  #reading: string | undefined;
  #closed = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get unavailableReason(): string | undefined {
    return this.#writing ?? this.#reading;
  }

  writeFailed(error: unknown): void {
    this.#change(() => {
      this.#writing = troubleOf(error);
    });
  }

  writeWorked(): void {
    if (this.#writing === undefined) return;
    this.#change(() => {
      this.#writing = undefined;
    });
  }

  readFailed(error: unknown): void {
    this.#change(() => {
      this.#reading = troubleOf(error);
    });
  }

  readWorked(): void {
    if (this.#reading === undefined) return;
    this.#change(() => {
      this.#reading = undefined;
    });
  }

  /** From now on a lost connection is no news. */
  close(): void {
    this.#closed = true;
  }

  #change(change: () => void): void {
    const before = this.unavailableReason;
    change();
    const { unavailableReason } = this;
    if (this.#closed || unavailableReason === before) return;
    if (unavailableReason === undefined) this.#logger.info("journal works again");
    else if (before === undefined) this.#logger.warn({ unavailableReason }, "the journal takes no writes");
  }
}

function troubleOf(error: unknown): string {
  return redisFailureReason(error instanceof Error && error.cause !== undefined ? error.cause : error);
}
