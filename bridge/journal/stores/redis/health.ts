import type { Logger } from "pino";
import { redisFailureReason } from "../../../../platform/redis/failure-reason.ts";

type Activity = "writing" | "reading";

/**
 * Whether the journal works. Two activities are tracked separately: writing, and reading the log, which has the entries
 * of other nodes. After a failure, an activity is unavailable until it succeeds again.
 */
export class Health {
  readonly #logger: Logger;
  readonly #reasons: Record<Activity, string | undefined> = { writing: undefined, reading: undefined };
  #closed = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get unavailableReason(): string | undefined {
    return this.#reasons.writing ?? this.#reasons.reading;
  }

  failed(activity: Activity, error: unknown): void {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    this.#change(activity, redisFailureReason(cause));
  }

  worked(activity: Activity): void {
    if (this.#reasons[activity] !== undefined) this.#change(activity, undefined);
  }

  /** Stops logging, because the connections are about to be closed. */
  close(): void {
    this.#closed = true;
  }

  #change(activity: Activity, reason: string | undefined): void {
    const before = this.unavailableReason;
    this.#reasons[activity] = reason;
    const { unavailableReason } = this;
    if (this.#closed || unavailableReason === before) return;
    if (unavailableReason === undefined) this.#logger.info("journal available again");
    else if (before === undefined) this.#logger.warn({ unavailableReason }, "journal unavailable");
  }
}
