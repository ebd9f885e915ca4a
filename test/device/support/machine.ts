import { DeviceClock } from "../../../device/host/clock.ts";

/** A machine whose clock has no battery: after a start, the clock shows any time, and is wrong until it is set. */
export class Machine {
  /** Whether the clock was set from the network. Undefined: unknown. */
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

  /** Advances all clocks of the machine. */
  pass(ms: number): void {
    this.#skippedMs += ms;
  }
}
