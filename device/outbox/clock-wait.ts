import type { DeviceClock } from "../host/clock.ts";

const MAX_WAIT_MS = 60_000;
const CHECK_INTERVAL_MS = 500;

/** Holds the backlog back until the clock is set, so that older messages are sent with their right times. */
export class ClockWait {
  readonly #clock: DeviceClock;
  #timer: NodeJS.Timeout | undefined;

  constructor(clock: DeviceClock) {
    this.#clock = clock;
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /** @param onOver called when the clock is set or the wait times out; never for a clock that is already set */
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
