interface ElectionOptions {
  /** The name of the lock. */
  name: string;
  /** This tab leads from now on. */
  onLead: () => void;
  /** Another tab has taken the lead. This tab waits for the lead again. */
  onLost: () => void;
}

/**
 * The lead of one tab, which is held as a Web Lock. The browser gives the lock to the next tab as soon as the leader is
 * closed, crashes or navigates away. It does not notice a frozen leader: other tabs then `steal` the lock.
 */
export class Election {
  readonly #options: ElectionOptions;
  #waiting: AbortController | undefined;
  #release: (() => void) | undefined;

  constructor(options: ElectionOptions) {
    this.#options = options;
  }

  get leads(): boolean {
    return this.#release !== undefined;
  }

  /** Waits for the lead. */
  enter(): void {
    const waiting = new AbortController();
    this.#waiting = waiting;
    this.#request({ signal: waiting.signal });
  }

  /** Takes the lead from a tab that does not answer. */
  steal(): void {
    this.#waiting?.abort();
    this.#request({ steal: true });
  }

  /** Ends the lead, or the wait for the lead. */
  leave(): void {
    this.#waiting?.abort();
    this.#waiting = undefined;
    this.#release?.();
    this.#release = undefined;
  }

  #request(options: LockOptions): void {
    let end: (() => void) | undefined;
    const held = (): Promise<void> =>
      new Promise((resolve) => {
        end = resolve;
        this.#waiting = undefined;
        this.#release = resolve;
        this.#options.onLead();
      });
    navigator.locks.request(this.#options.name, options, held).catch((error: unknown) => {
      // Without a call of `held`, this tab has stopped to wait.
      if (end !== undefined && this.#release === end) {
        this.#release = undefined;
        this.#options.onLost();
        this.enter();
      } else if (!(error instanceof DOMException && error.name === "AbortError")) {
        // The browser forbids locks here, as in a sandboxed frame: this tab has a connection of its own.
        void held();
      }
    });
  }
}
