import type { Logger } from "pino";

interface RunningPart {
  stop(): void | Promise<void>;
}

/** The parts of a program, which are stopped in the reverse order of their start. */
export class RunningParts {
  readonly #parts: RunningPart[] = [];
  readonly #logger: Logger;
  #stopping: Promise<void> | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  add<Part extends RunningPart>(part: Part): Part {
    this.#parts.push(part);
    return part;
  }

  /** Logs the failure of a part, and stops the other parts. Idempotent. */
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
