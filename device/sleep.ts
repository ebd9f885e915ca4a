import type { Logger } from "pino";
import { runProgram } from "./cameras/run-program.ts";
import type { Plan } from "./capture-loop.ts";
import { pause } from "./pause.ts";

/** Awake at least so long after a start or a sleep: somebody may want to give a command. */
const DEFAULT_MIN_AWAKE_MS = 120_000;
/** Something waits to be sent: then so long, after which the link is not worth the power. */
const DEFAULT_MAX_AWAKE_MS = 900_000;
/** Back so long before the next picture: links take their time to come up. */
const DEFAULT_EARLY_MS = 60_000;
const DEFAULT_LOOK_MS = 10_000;
/** The longest single wait: after it the clock is asked again, since it may be set while the camera sleeps. */
const MAX_WAIT_MS = 60_000;
const DEFAULT_COMMAND_TIMEOUT_MS = 60_000;

export interface SleepConfig {
  /** A pause of the schedule that is at least so long is slept through, milliseconds. 0: none is. */
  pauseMs: number;
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

  /** Sleeps, unless it does already. Resolves when it is awake again. */
  sleep(until: Date): Promise<void> {
    this.#sleeping ??= this.#sleep(until).finally(() => {
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
    const until = new Date(next.getTime() - earlyMs);
    if (until > now()) void this.sleep(until);
  }

  async #sleep(until: Date): Promise<void> {
    const { leave, comeBack, command, now, logger } = this.#options;
    const { commandTimeoutMs: timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS } = this.#options;
    const { signal } = this.#stop;
    // By two clocks: one may be set back while it sleeps, and the other stands still while the machine is off.
    const longest = performance.now() + until.getTime() - now().getTime();
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
      leftMs = Math.min(until.getTime() - now().getTime(), longest - performance.now());
      await pause(Math.max(0, Math.min(leftMs, MAX_WAIT_MS)), signal);
    }
    if (signal.aborted) return;
    logger.info("awake again");
    comeBack();
  }
}
