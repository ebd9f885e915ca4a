import type { Logger } from "pino";
import { pause } from "../host/pause.ts";
import { runProgram } from "../host/run-program.ts";
import type { Plan } from "./capture-loop.ts";

/** Awake at least so long after a start or a sleep: somebody may want to give a command. */
const DEFAULT_MIN_AWAKE_MS = 120_000;
/** Something waits to be sent: then so long, after which the link is not worth the power. */
const DEFAULT_MAX_AWAKE_MS = 900_000;
/** Back so long before the next picture: links take their time to come up. */
const DEFAULT_EARLY_MS = 60_000;
const DEFAULT_LOOK_MS = 10_000;
/** A camera that was sent to sleep by mistake is back within a week. */
export const DEFAULT_MAX_SLEEP_DAYS = 7;
const DAY_MS = 86_400_000;
/** The longest single wait: after it the clock is asked again, since it may be set while the camera sleeps. */
const MAX_WAIT_MS = 60_000;
const DEFAULT_COMMAND_TIMEOUT_MS = 60_000;

export interface SleepConfig {
  /** A pause of the schedule that is at least so long is slept through, milliseconds. 0: none is. */
  pauseMs: number;
  /** The longest sleep, days. Default {@link DEFAULT_MAX_SLEEP_DAYS}; `Infinity`: no limit. */
  maxDays?: number;
  /** A program that is run once the camera has said goodbye, with the time of return as its argument. Default: none. */
  command?: string;
  minAwakeMs?: number;
  maxAwakeMs?: number;
  earlyMs?: number;
  lookMs?: number;
  commandTimeoutMs?: number;
}

export interface SleeperOptions extends SleepConfig {
  plan: () => Plan;
  /** Messages that wait to be sent. */
  waiting: () => number;
  /** Says until when, and leaves the link. */
  leave: (until: Date) => Promise<void>;
  /** Comes back, as another session. */
  comeBack: () => void;
  now: () => Date;
  /** Milliseconds by a clock that nobody sets, and that goes on while the machine is suspended. */
  runningMs: () => number;
  logger: Logger;
}

/** Takes the link down while there is nothing to take pictures of, and says when it will be back. */
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
    const { pauseMs, lookMs = DEFAULT_LOOK_MS } = this.#options;
    if (pauseMs > 0) this.#timer = setInterval(() => this.#look(), lookMs);
  }

  /**
   * How long a sleep that was commanded lasts, milliseconds: as long as its sender meant, though this camera's clock may
   * be wrong. With a clock that is behind, `until` seems further away than it was for the sender.
   */
  lengthOf({ until, issuedAt }: { until: Date; issuedAt: Date }): number {
    return Math.min(until.getTime() - this.#options.now().getTime(), until.getTime() - issuedAt.getTime());
  }

  /** Why a sleep of such a length is refused; undefined when it is not. */
  problemOf(lengthMs: number): string | undefined {
    const days = this.#options.maxDays ?? DEFAULT_MAX_SLEEP_DAYS;
    if (lengthMs <= 0) return `until: is over: by the clock of this camera it is ${this.#options.now().toISOString()}`;
    if (lengthMs > days * DAY_MS)
      return `until: is ${(lengthMs / DAY_MS).toFixed(1)} days away, more than the ${days} that this camera may sleep (MAX_SLEEP_DAYS)`;
    return undefined;
  }

  /**
   * Sleeps, unless it does already. Resolves when it is awake again.
   * @param until what is said to be the end, and by the wall clock the end at the latest unless `lengthMs` is given
   * @param lengthMs how long it lasts by running time, whatever the wall clock shows. Default: until `until`
   */
  sleep(until: Date, lengthMs?: number): Promise<void> {
    this.#sleeping ??= this.#sleep(until, lengthMs).finally(() => {
      this.#sleeping = undefined;
      this.#awakeSince = performance.now();
    });
    return this.#sleeping;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#sleeping;
  }

  #look(): void {
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
    const { leave, comeBack, command, now, runningMs, logger } = this.#options;
    const { commandTimeoutMs: timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS } = this.#options;
    const { signal } = this.#stop;
    // By running time, for the wall clock may be set while it sleeps. A pause of the schedule ends by the wall clock too:
    // one that is set ahead brings the next picture nearer.
    const endsAt = runningMs() + (lengthMs ?? until.getTime() - now().getTime());
    logger.info({ until: until.toISOString() }, "going to sleep");
    await leave(until);
    if (command !== undefined && !signal.aborted) {
      try {
        await runProgram({ command, args: [until.toISOString()], timeoutMs, signal });
      } catch (error) {
        logger.error({ reason: error instanceof Error ? error.message : String(error) }, "the sleep command failed");
      }
    }
    for (let leftMs = 1; leftMs > 0 && !signal.aborted; ) {
      leftMs = endsAt - runningMs();
      if (lengthMs === undefined) leftMs = Math.min(leftMs, until.getTime() - now().getTime());
      await pause(Math.max(0, Math.min(leftMs, MAX_WAIT_MS)), signal);
    }
    if (signal.aborted) return;
    logger.info("awake again");
    comeBack();
  }
}
