import { DeviceClock } from "../../../device/host/clock.ts";

/** A machine whose clock has no battery: it runs from whatever it was left at, until somebody sets it. */
export class Machine {
  /** Whether the clock was set from the network; undefined where nothing tells. */
  synchronised: boolean | undefined;
  readonly clock: DeviceClock;
  #aheadMs: number;
  #skippedMs = 0;

  constructor(boot: string, shows: string, synchronised: boolean | undefined) {
    this.synchronised = synchronised;
    this.#aheadMs = Date.parse(shows) - this.upMs;
    this.clock = new DeviceClock({
      now: () => this.now(),
      monoMs: () => this.upMs,
      boot,
      synchronised: () => this.synchronised,
    });
  }

  get upMs(): number {
    return performance.now() + this.#skippedMs;
  }

  now(): Date {
    return new Date(this.upMs + this.#aheadMs);
  }

  set(time: string): void {
    this.#aheadMs = Date.parse(time) - this.upMs;
    if (this.synchronised === false) this.synchronised = true;
  }

  /** Lets time go by, on all its clocks. */
  pass(ms: number): void {
    this.#skippedMs += ms;
  }
}
