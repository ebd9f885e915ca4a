import type { Logger } from "pino";

/** A part of a program that was started and can be stopped. */
export interface RunningPart {
  stop(): void | Promise<void>;
}

/** The parts of a program in the order of their start. They are stopped in reverse order. */
export class RunningParts {
  readonly #parts: RunningPart[] = [];
  readonly #logger: Logger;
  #stopping: Promise<void> | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** @returns the given part */
  add<Part extends RunningPart>(part: Part): Part {
    this.#parts.push(part);
    return part;
  }

  /**
   * Stops all parts. If a part fails to stop, the failure is logged, and the other parts are still stopped. Idempotent.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    for (const part of this.#parts.toReversed()) {
      try {
        await part.stop();
      } catch (error) {
        this.#logger.error({ err: error }, "a part did not stop cleanly");
      }
    }
  }
}
