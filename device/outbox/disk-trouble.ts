import type { Outbox } from "./outbox.ts";

/** How long a disk may take no writes before that is said: on a full one room is made, which takes a moment. Milliseconds. */
const PATIENCE_MS = 5000;
/** Characters of the reason that are told. */
const MAX_REASON = 300;

/** Tells when the disk takes no writes for longer than a moment, and when it does again. */
export class DiskTrouble {
  readonly #outbox: Pick<Outbox, "trouble" | "onTrouble">;
  readonly #onChange: (reason: string | undefined) => void;
  #timer: NodeJS.Timeout | undefined;
  #reason: string | undefined;

  /** @param onChange not called for what is so at the start: see {@link reason} */
  constructor(outbox: Pick<Outbox, "trouble" | "onTrouble">, onChange: (reason: string | undefined) => void) {
    this.#outbox = outbox;
    this.#onChange = onChange;
    this.#reason = outbox.trouble?.slice(0, MAX_REASON);
    outbox.onTrouble(() => this.#look());
  }

  /** Why the disk takes no writes; undefined while it does. The first reason stays: each attempt may fail another way. */
  get reason(): string | undefined {
    return this.#reason;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    clearTimeout(this.#timer);
    const { trouble } = this.#outbox;
    if (trouble === undefined) this.#settle(undefined);
    else if (this.#reason === undefined)
      this.#timer = setTimeout(() => this.#settle(this.#outbox.trouble?.slice(0, MAX_REASON)), PATIENCE_MS);
  }

  #settle(reason: string | undefined): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#onChange(reason);
  }
}
