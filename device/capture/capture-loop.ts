import type { Schedule } from "../../contract/commands.ts";
import { activeInterval, nextCapture, windowsAround } from "./schedule.ts";
import type { Location } from "./sun.ts";

/** The longest single wait. Then the clock is read again, because it may be set while the camera waits. */
const MAX_WAIT_MS = 60_000;
/** After this many failures in a row the camera rests before the next picture. */
const FAILURES_TO_REST = 3;
const MAX_REST_S = 300;
/** A due picture is still taken this long after its window closed: timers may be late. */
const TIMER_TOLERANCE_MS = 1000;

export interface CaptureLoopOptions {
  location: Location;
  /** Takes a due picture. Never rejects; resolves to the number of failures in a row, 0 after a success. */
  capture: () => Promise<number>;
  /** Called when the plan changed: a window opened or closed, or a picture was taken. */
  onPlan: (plan: Plan) => void;
  phaseMs: number;
  now: () => Date;
}

export interface Plan {
  /** True within a window of the schedule. */
  active: boolean;
  next: Date | undefined;
  /** The longer of the present interval and that of the next picture's window; undefined when no picture is planned. */
  intervalS?: number | undefined;
}

/** Seconds of rest after failures in a row: 60 after the third, then 120, 240, and 300 at most. */
export function restAfterFailures(failures: number): number {
  return failures < FAILURES_TO_REST ? 0 : Math.min(MAX_REST_S, 30 * 2 ** (failures - 2));
}

/** Takes a picture whenever the schedule asks for one, and only one at a time. A missed picture is not taken later. */
export class CaptureLoop {
  readonly #options: CaptureLoopOptions;
  #schedule: Schedule;
  #timer: NodeJS.Timeout | undefined;
  #due: Date | undefined;
  /** End of the rest after failures, by `performance.now()`. */
  #restUntil = 0;
  #active: boolean | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(schedule: Schedule, options: CaptureLoopOptions) {
    this.#schedule = schedule;
    this.#options = options;
  }

  start(): void {
    this.#plan(this.#options.now());
  }

  follow(schedule: Schedule): void {
    this.#schedule = schedule;
    if (!this.#stopped && this.#running === undefined) this.#plan(this.#options.now());
  }

  /** Resolves when a picture that is being taken is finished. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** @param always whether `onPlan` is called even if the plan is unchanged */
  #plan(at: Date, { always = true }: { always?: boolean } = {}): void {
    const { location, phaseMs, onPlan } = this.#options;
    const windows = windowsAround(this.#schedule, location, at);
    const intervalNow = activeInterval(windows, at);
    const active = intervalNow !== undefined;
    const restMs = Math.max(0, this.#restUntil - performance.now());
    const due = nextCapture(windows, new Date(at.getTime() + restMs), phaseMs);
    const changed = active !== this.#active || due?.getTime() !== this.#due?.getTime();
    this.#active = active;
    this.#due = due;
    const intervals = [intervalNow, due === undefined ? undefined : activeInterval(windows, due)];
    const intervalS = Math.max(...intervals.map((seconds) => seconds ?? 0)) || undefined;
    if (always || changed) onPlan({ active, next: due, intervalS });
    this.#wait();
  }

  #wait(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const { now } = this.#options;
    const waitMs = this.#due === undefined ? MAX_WAIT_MS : this.#due.getTime() - now().getTime();
    this.#timer = setTimeout(() => this.#wake(), Math.max(0, Math.min(waitMs, MAX_WAIT_MS)));
  }

  #wake(): void {
    const at = this.#options.now();
    if (this.#due === undefined || at < this.#due || this.#isMissed(this.#due, at)) {
      this.#plan(at, { always: false });
      return;
    }
    this.#running = this.#capture().finally(() => {
      this.#running = undefined;
    });
  }

  /** The window of the due picture has closed, because the machine was suspended or its clock was set. */
  #isMissed(due: Date, at: Date): boolean {
    const windows = windowsAround(this.#schedule, this.#options.location, at);
    return at.getTime() - due.getTime() > TIMER_TOLERANCE_MS && activeInterval(windows, at) === undefined;
  }

  async #capture(): Promise<void> {
    const failures = await this.#options.capture();
    if (this.#stopped) return;
    this.#restUntil = performance.now() + restAfterFailures(failures) * 1000;
    this.#plan(this.#options.now());
  }
}
