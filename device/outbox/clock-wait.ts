import type { DeviceClock } from "../host/clock.ts";

/** How long the backlog waits for a clock that was not set since the machine started. */
const MAX_WAIT_MS = 60_000;
const CHECK_INTERVAL_MS = 500;

/** Holds the backlog back until the clock is set, so that messages from before are sent with the right times. */
export class ClockWait {
  readonly #clock: DeviceClock;
  #timer: NodeJS.Timeout | undefined;

  constructor(clock: DeviceClock) {
    this.#clock = clock;
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /** @param onOver called when the clock is set, or the wait timed out; not called when the clock is set already */
  start(onOver: () => void): void {
    this.stop();
    if (this.#clock.usable) return;
    const until = performance.now() + MAX_WAIT_MS;
    this.#timer = setInterval(() => {
      if (!this.#clock.usable && performance.now() < until) return;
      this.stop();
      onOver();
    }, CHECK_INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
