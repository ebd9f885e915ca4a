import type { Logger } from "pino";
import { messageOf } from "../../platform/errors.ts";
import { delay } from "../host/delay.ts";
import { runProgram } from "../host/run-program.ts";
import type { Plan } from "./capture-loop.ts";

/** Limited, so that a sleep by mistake ends within a week. */
export const DEFAULT_MAX_SLEEP_DAYS = 7;
const DEFAULTS = {
  /** The longest sleep. `Infinity`: no limit. */
  maxDays: DEFAULT_MAX_SLEEP_DAYS,
  /** How long the camera stays awake after a start or a sleep, so that somebody can send a command. */
  minAwakeMs: 120_000,
  /** How long unsent messages keep the camera awake. Waiting longer for a slow link would take too much power. */
  maxAwakeMs: 900_000,
  /** How long before the next picture the camera wakes up, because the link needs time. */
  earlyMs: 60_000,
  checkIntervalMs: 10_000,
  commandTimeoutMs: 60_000,
};
const DAY_MS = 86_400_000;
/** The clock is read again after this time, because it may be set during the sleep. */
const MAX_WAIT_MS = 60_000;
/** The delay of a commanded sleep, so that the reply is sent. */
const REPLY_MS = 200;

export interface SleepConfig extends Partial<typeof DEFAULTS> {
  /** The camera sleeps through pauses of the schedule of at least this length. 0: only on command. */
  pauseMs: number;
  /** A program to run after the farewell. Its argument is the wake-up time. Default: none. */
  command?: string;
}

export interface SleeperOptions extends SleepConfig {
  plan: () => Plan;
  waiting: () => number;
  goOffline: (until: Date) => Promise<void>;
  goOnline: () => void;
  now: () => Date;
  /** A monotonic clock that continues while the machine is suspended. */
  runningMs: () => number;
  logger: Logger;
}

/** Disconnects the camera for long pauses of the schedule, for a commanded sleep, and for a reboot. */
export class Sleeper {
  readonly #options: SleeperOptions & typeof DEFAULTS;
  readonly #stop = new AbortController();
  #awakeSince = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #sleeping: Promise<void> | undefined;

  constructor(options: SleeperOptions) {
    this.#options = { ...DEFAULTS, ...options };
  }

  get asleep(): boolean {
    return this.#sleeping !== undefined;
  }

  start(): void {
    const { pauseMs, checkIntervalMs } = this.#options;
    if (pauseMs > 0) this.#timer = setInterval(() => this.#sleepIfIdle(), checkIntervalMs);
  }

  /**
   * The length of a commanded sleep as its sender meant it. If this camera's clock is behind, `until` seems too far
   * away. So the sleep is never longer than the time from `issuedAt` to `until`.
   */
  lengthOf({ until, issuedAt }: { until: Date; issuedAt: Date }): number {
    return Math.min(until.getTime() - this.#options.now().getTime(), until.getTime() - issuedAt.getTime());
  }

  problemOf(lengthMs: number): string | undefined {
    const days = this.#options.maxDays;
    if (lengthMs <= 0) return `until: is in the past: this camera's clock shows ${this.#options.now().toISOString()}`;
    if (lengthMs > days * DAY_MS)
      return `until: is ${(lengthMs / DAY_MS).toFixed(1)} days away, but this camera may sleep for at most ${days} (MAX_SLEEP_DAYS)`;
    return undefined;
  }

  /**
   * Resolves when the camera is awake again.
   * @param until the published wake-up time; without `lengthMs` the sleep also ends when the wall clock shows this time
   * @param lengthMs the length by the monotonic clock
   */
  sleep(until: Date, lengthMs?: number): Promise<void> {
    this.#sleeping ??= this.#sleep(until, lengthMs).finally(() => {
      this.#sleeping = undefined;
      this.#awakeSince = performance.now();
    });
    return this.#sleeping;
  }

  async sleepAfterReply(until: Date, lengthMs: number): Promise<void> {
    await delay(REPLY_MS, this.#stop.signal);
    if (!this.#stop.signal.aborted) await this.sleep(until, lengthMs);
  }

  async reboot(awayMs: number): Promise<void> {
    const { goOffline, goOnline, now } = this.#options;
    await goOffline(new Date(now().getTime() + awayMs));
    await delay(awayMs, this.#stop.signal);
    if (this.#stop.signal.aborted) throw new Error("the camera was stopped while it rebooted");
    goOnline();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#sleeping;
  }

  #sleepIfIdle(): void {
    const { plan, waiting, now, pauseMs, maxDays, earlyMs, minAwakeMs, maxAwakeMs } = this.#options;
    const { active, next } = plan();
    if (this.asleep || active || next === undefined || next.getTime() - now().getTime() < pauseMs) return;
    const awakeMs = performance.now() - this.#awakeSince;
    if (awakeMs < minAwakeMs || (waiting() > 0 && awakeMs < maxAwakeMs)) return;
    const until = new Date(Math.min(next.getTime() - earlyMs, now().getTime() + maxDays * DAY_MS));
    if (until > now()) void this.sleep(until);
  }

  async #sleep(until: Date, lengthMs?: number): Promise<void> {
    const { goOffline, goOnline, command, commandTimeoutMs: timeoutMs, now, runningMs, logger } = this.#options;
    const { signal } = this.#stop;
    // The end is on the monotonic clock, because the wall clock may be set during the sleep. If the wall clock is set
    // forward, a pause of the schedule ends earlier.
    const endsAt = runningMs() + (lengthMs ?? until.getTime() - now().getTime());
    logger.info({ until: until.toISOString() }, "going to sleep");
    await goOffline(until);
    if (command !== undefined && !signal.aborted) {
      try {
        await runProgram({ command, args: [until.toISOString()], timeoutMs, signal });
      } catch (error) {
        logger.error({ reason: messageOf(error) }, "sleep command failed");
      }
    }
    for (let leftMs = 1; leftMs > 0 && !signal.aborted; ) {
      leftMs = endsAt - runningMs();
      if (lengthMs === undefined) leftMs = Math.min(leftMs, until.getTime() - now().getTime());
      await delay(Math.max(0, Math.min(leftMs, MAX_WAIT_MS)), signal);
    }
    if (signal.aborted) return;
    logger.info("awake again");
    goOnline();
  }
}
