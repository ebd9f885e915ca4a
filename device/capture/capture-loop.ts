import type { Schedule } from "../../contract/commands.ts";
import { activeInterval, nextCapture, windowsAround } from "./schedule.ts";
import type { Location } from "./sun.ts";

/** The longest single wait: after it the clock is asked again, since a camera's clock may be set while it waits. */
const MAX_WAIT_MS = 60_000;
/** Failures in a row from which on the camera is given longer and longer rests. */
const PATIENT_FAILURES = 3;
const MAX_REST_S = 300;
/** A picture that is due is taken though its window has closed since: timers are late by so much, milliseconds. */
const LATE_MS = 1000;

export interface CaptureLoopOptions {
  location: Location;
  /** Takes a picture that is due. Never rejects; resolves to the failures in a row up to and with it. */
  capture: () => Promise<number>;
  /** The plan has changed: a window opened or closed, or a picture was taken. */
  onPlan: (plan: Plan) => void;
  phaseMs: number;
  now: () => Date;
}

export interface Plan {
  /** True within a window of the schedule. */
  active: boolean;
  next: Date | undefined;
  /** The seconds that may pass until the next picture, and from that to the one after it; undefined when none is planned. */
  intervalS?: number | undefined;
}

/** Rest after the n-th failure in a row, seconds: 60, 120, 240, then 300. */
export function restAfterFailures(failures: number): number {
  return failures < PATIENT_FAILURES ? 0 : Math.min(MAX_REST_S, 30 * 2 ** (failures - 2));
}

/** Takes a picture whenever the schedule says so, one at a time; one that is late is not made up for. */
export class CaptureLoop {
  readonly #options: CaptureLoopOptions;
  #schedule: Schedule;
  #timer: NodeJS.Timeout | undefined;
  #due: Date | undefined;
  /** Until then the camera rests after failures, by a clock that nobody sets. */
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

  /** Resolves when a picture that is being taken is done. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** @param tell whether it is to be told even if it is what it was */
  #plan(at: Date, { tell = true }: { tell?: boolean } = {}): void {
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
    if (tell || changed) onPlan({ active, next: due, intervalS });
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
    if (this.#due === undefined || at < this.#due || this.#isOver(this.#due, at)) {
      this.#plan(at, { tell: false });
      return;
    }
    this.#running = this.#capture().finally(() => {
      this.#running = undefined;
    });
  }

  /** The machine slept through it, or its clock was set: the window of what was due has closed. */
  #isOver(due: Date, at: Date): boolean {
    const windows = windowsAround(this.#schedule, this.#options.location, at);
    return at.getTime() - due.getTime() > LATE_MS && activeInterval(windows, at) === undefined;
  }

  async #capture(): Promise<void> {
    const failures = await this.#options.capture();
    if (this.#stopped) return;
    this.#restUntil = performance.now() + restAfterFailures(failures) * 1000;
    this.#plan(this.#options.now());
  }
}
