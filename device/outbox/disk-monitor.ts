import type { Outbox } from "./outbox.ts";

/** How long writes fail before the report: on a full disk the outbox first frees space. */
const REPORT_AFTER_MS = 5000;
const MAX_REASON_CHARACTERS = 300;

/** Reports a disk that cannot be written for longer than a moment, and its recovery. */
export class DiskMonitor {
  readonly #outbox: Outbox;
  readonly #onChange: (failure: string | undefined) => void;
  #timer: NodeJS.Timeout | undefined;
  #failure: string | undefined;

  /** @param onChange not called for a failure at the start: see {@link failure} */
  constructor(outbox: Outbox, onChange: (failure: string | undefined) => void) {
    this.#outbox = outbox;
    this.#onChange = onChange;
    this.#failure = shortened(outbox.writeFailure);
    outbox.onWriteFailureChange(() => this.#check());
  }

  /** Why the disk cannot be written, by the first failure: each retry may fail differently. */
  get failure(): string | undefined {
    return this.#failure;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #check(): void {
    clearTimeout(this.#timer);
    if (this.#outbox.writeFailure === undefined) this.#set(undefined);
    else if (this.#failure === undefined)
      this.#timer = setTimeout(() => this.#set(shortened(this.#outbox.writeFailure)), REPORT_AFTER_MS);
  }

  #set(failure: string | undefined): void {
    if (failure === this.#failure) return;
    this.#failure = failure;
    this.#onChange(failure);
  }
}

function shortened(reason: string | undefined): string | undefined {
  return reason?.slice(0, MAX_REASON_CHARACTERS);
}
