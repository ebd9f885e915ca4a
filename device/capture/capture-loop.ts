import type { Schedule } from "../../contract/commands.ts";
import { activeInterval, nextCapture, windowsAround } from "../../contract/schedule/planner.ts";
import type { Location } from "../../contract/schedule/sun.ts";

/** The clock is read again after this time, because it may be set during a wait. */
const MAX_WAIT_MS = 60_000;
/** After this many failures in a row the camera rests. */
const FAILURES_TO_REST = 3;
const MAX_REST_S = 300;
const TIMER_TOLERANCE_MS = 1000;

export interface CaptureLoopOptions {
  location: Location;
  /** Takes a picture. Never rejects; resolves to the number of failures in a row. */
  capture: () => Promise<number>;
  /** Called when a window opened or closed, or a picture was taken. */
  onPlan: (plan: Plan) => void;
  phaseMs: number;
  now: () => Date;
}

export interface Plan {
  active: boolean;
  next: Date | undefined;
  /** The longest interval until the next picture; undefined when no picture is planned. */
  intervalS?: number | undefined;
}

/** Seconds of rest: 60 after the third failure in a row, then 120, 240, and at most 300. */
export function restAfterFailures(failures: number): number {
  return failures < FAILURES_TO_REST ? 0 : Math.min(MAX_REST_S, 30 * 2 ** (failures - 2));
}

/** Takes the pictures of a schedule, one at a time. A missed picture is not taken later. */
export class CaptureLoop {
  readonly #options: CaptureLoopOptions;
  #schedule: Schedule;
  #timer: NodeJS.Timeout | undefined;
  #due: Date | undefined;
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

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** @param always whether `onPlan` is called for an unchanged plan */
  #plan(at: Date, always = true): void {
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
    if (this.#due === undefined || at < this.#due || this.#isMissed(this.#due, at)) this.#plan(at, false);
    else
      this.#running = this.#capture().finally(() => {
        this.#running = undefined;
      });
  }

  /** Whether the window closed before the timer fired: the machine was suspended, or its clock was set. */
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
