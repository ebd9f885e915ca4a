import type { Logger } from "pino";
import { redisFailureReason } from "../../../../platform/redis/failure-reason.ts";

/**
 * Whether the journal works. Writing and reading the log are tracked separately: entries of other nodes arrive by
 * reading the log. After a failure, each is regarded as unavailable until it succeeds again.
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
      this.#writing = reasonOf(error);
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
      this.#reading = reasonOf(error);
    });
  }

  readWorked(): void {
    if (this.#reading === undefined) return;
    this.#change(() => {
      this.#reading = undefined;
    });
  }

  /** Stops logging: the connections are about to be closed. */
  close(): void {
    this.#closed = true;
  }

  #change(change: () => void): void {
    const before = this.unavailableReason;
    change();
    const { unavailableReason } = this;
    if (this.#closed || unavailableReason === before) return;
    if (unavailableReason === undefined) this.#logger.info("journal available again");
    else if (before === undefined) this.#logger.warn({ unavailableReason }, "journal unavailable");
  }
}

function reasonOf(error: unknown): string {
  return redisFailureReason(error instanceof Error && error.cause !== undefined ? error.cause : error);
}
