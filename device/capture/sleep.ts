import type { Logger } from "pino";
import { messageOf } from "../../platform/errors.ts";
import { delay } from "../host/delay.ts";
import { runProgram } from "../host/run-program.ts";
import type { Plan } from "./capture-loop.ts";

/** How long the camera stays awake after a start or a sleep, so that somebody can send a command. */
const DEFAULT_MIN_AWAKE_MS = 120_000;
/** How long the camera stays awake while messages wait to be sent. A link that takes longer is not worth the power. */
const DEFAULT_MAX_AWAKE_MS = 900_000;
/** How long before the next picture the camera wakes up: the link takes some time to come up. */
const DEFAULT_EARLY_MS = 60_000;
const DEFAULT_CHECK_INTERVAL_MS = 10_000;
/** Limited, so that a camera that was put to sleep by mistake is back within a week. */
export const DEFAULT_MAX_SLEEP_DAYS = 7;
const DAY_MS = 86_400_000;
/** The longest single wait. Then the clock is read again, because it may be set during the sleep. */
const MAX_WAIT_MS = 60_000;
const DEFAULT_COMMAND_TIMEOUT_MS = 60_000;
/** The time between the reply to a command to sleep and the sleep, so that the reply is sent. */
const REPLY_MS = 200;

export interface SleepConfig {
  /** The camera sleeps through a pause of the schedule of at least this length. 0: it never sleeps by itself. */
  pauseMs: number;
  /** The longest sleep. Default {@link DEFAULT_MAX_SLEEP_DAYS}; `Infinity`: no limit. */
  maxDays?: number;
  /** A program that is run after the farewell, with the wake-up time as its argument. Default: none. */
  command?: string;
  minAwakeMs?: number;
  maxAwakeMs?: number;
  earlyMs?: number;
  checkIntervalMs?: number;
  commandTimeoutMs?: number;
}

export interface SleeperOptions extends SleepConfig {
  plan: () => Plan;
  /** The number of messages that wait to be sent. */
  waiting: () => number;
  /** Publishes the wake-up time and disconnects. */
  goOffline: (until: Date) => Promise<void>;
  /** Connects again, with a new session. */
  goOnline: () => void;
  now: () => Date;
  /** A monotonic clock that also counts while the machine is suspended. */
  runningMs: () => number;
  logger: Logger;
}

/** Disconnects the camera during long pauses of the schedule, for a command to sleep, and for a reboot. */
export class Sleeper {
  readonly #options: SleeperOptions;
  readonly #stop = new AbortController();
  #awakeSince = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #sleeping: Promise<void> | undefined;

  constructor(options: SleeperOptions) {
    this.#options = options;
  }

  get asleep(): boolean {
    return this.#sleeping !== undefined;
  }

  start(): void {
    const { pauseMs, checkIntervalMs = DEFAULT_CHECK_INTERVAL_MS } = this.#options;
    if (pauseMs > 0) this.#timer = setInterval(() => this.#sleepIfIdle(), checkIntervalMs);
  }

  /**
   * The length of a commanded sleep, as its sender meant it even if this camera's clock is wrong. If this camera's
   * clock is behind, `until` is further away by it than by the sender's clock.
   */
  lengthOf({ until, issuedAt }: { until: Date; issuedAt: Date }): number {
    return Math.min(until.getTime() - this.#options.now().getTime(), until.getTime() - issuedAt.getTime());
  }

  /** Why a sleep of this length is refused; undefined when it is allowed. */
  problemOf(lengthMs: number): string | undefined {
    const days = this.#options.maxDays ?? DEFAULT_MAX_SLEEP_DAYS;
    if (lengthMs <= 0) return `until: is in the past: this camera's clock shows ${this.#options.now().toISOString()}`;
    if (lengthMs > days * DAY_MS)
      return `until: is ${(lengthMs / DAY_MS).toFixed(1)} days away, but this camera may sleep for at most ${days} (MAX_SLEEP_DAYS)`;
    return undefined;
  }

  /**
   * Sleeps, unless the camera is asleep already. Resolves when the camera is awake again.
   * @param until the published wake-up time. Without `lengthMs` the sleep ends at the latest when the wall clock shows
   * this time.
   * @param lengthMs the length by the monotonic clock, whatever the wall clock shows. Default: until `until`
   */
  sleep(until: Date, lengthMs?: number): Promise<void> {
    this.#sleeping ??= this.#sleep(until, lengthMs).finally(() => {
      this.#sleeping = undefined;
      this.#awakeSince = performance.now();
    });
    return this.#sleeping;
  }

  /** Like {@link sleep}, but first leaves time to send the reply to the command. */
  async sleepAfterReply(until: Date, lengthMs: number): Promise<void> {
    await delay(REPLY_MS, this.#stop.signal);
    if (!this.#stop.signal.aborted) await this.sleep(until, lengthMs);
  }

  /** Disconnects for `awayMs` and connects again. @throws Error when the camera is stopped in the meantime */
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
    const { plan, waiting, now, pauseMs } = this.#options;
    const {
      minAwakeMs = DEFAULT_MIN_AWAKE_MS,
      maxAwakeMs = DEFAULT_MAX_AWAKE_MS,
      earlyMs = DEFAULT_EARLY_MS,
    } = this.#options;
    const { active, next } = plan();
    if (this.asleep || active || next === undefined || next.getTime() - now().getTime() < pauseMs) return;
    const awakeMs = performance.now() - this.#awakeSince;
    if (awakeMs < minAwakeMs || (waiting() > 0 && awakeMs < maxAwakeMs)) return;
    const longestMs = (this.#options.maxDays ?? DEFAULT_MAX_SLEEP_DAYS) * DAY_MS;
    const until = new Date(Math.min(next.getTime() - earlyMs, now().getTime() + longestMs));
    if (until > now()) void this.sleep(until);
  }

  async #sleep(until: Date, lengthMs?: number): Promise<void> {
    const { goOffline, goOnline, command, now, runningMs, logger } = this.#options;
    const { commandTimeoutMs: timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS } = this.#options;
    const { signal } = this.#stop;
    // By the monotonic clock, because the wall clock may be set during the sleep. A pause of the schedule also ends by
    // the wall clock: if that clock is set forward, the next picture is due earlier.
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
