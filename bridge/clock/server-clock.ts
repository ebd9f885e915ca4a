import type { Logger } from "pino";
import { z } from "zod";
import type { ClockJump } from "../../contract/events.ts";
import type { Documents } from "../cluster/cluster.ts";
import { advance, type ClockState, confirm, deviationOf, hasJumped, JUMP_MS, newClockState } from "./clock-state.ts";
import { machineRunningTime, type RunningTime } from "./machine-running-time.ts";
import { networkTimeAgrees } from "./network-time.ts";

/**
 * The server's own clock. It measures the ages for retention, sessions, previews, alerts and presence. It advances with
 * the running time, and follows the system's clock in small steps. A jump of the system's clock, while the server runs
 * or between two starts, is reported. The jump changes nothing until an operator confirms it, or network time that has
 * agreed with the system's clock for an hour. The server cannot distinguish a machine that was off from a clock that
 * was set ahead, so it reports both as jumps.
 */
export interface ServerClock {
  /** Milliseconds since 1970, without jumps of the system's clock. Never runs backwards. */
  now(): number;
  /**
   * The system's clock, with or without its unconfirmed jump, whichever is earlier. Used for the expiry of revocations.
   */
  cautious(): number;
  /** The unconfirmed jump, if any. */
  readonly jump: ClockJump | undefined;
  /** Confirms a jump on behalf of an operator. See {@link confirm}. @returns the confirmed jump, if any */
  accept(options: { timePassed: boolean }): Promise<ClockJump | undefined>;
  stop(): Promise<void>;
}

export interface ServerClockOptions {
  documents: Pick<Documents, "get" | "put">;
  /** The clock that all nodes use as the system's clock. Default: this machine's clock, for a single node. */
  sharedWall?: () => number;
  logger: Logger;
  /** The system's clock, milliseconds since 1970. Default: `Date.now`. */
  wall?: () => number;
  runningTime?: RunningTime;
  /** Default: {@link networkTimeAgrees}. */
  networkTime?: () => Promise<boolean | undefined>;
  /** Milliseconds between two comparisons of the clocks. Default 20,000. */
  intervalMs?: number;
  /** How long network time must agree with a jump to confirm it, milliseconds. Default 3,600,000. */
  agreementMs?: number;
}

const DOCUMENT = { collection: "clock", key: "server" } as const;
const storedSchema = z.object({
  ...{ time: z.number(), wall: z.number(), offset: z.number(), trusted: z.boolean() },
  ...{ boot: z.string().optional(), uptime: z.number() },
});
/** The interval between two queries of network time. */
const NETWORK_INTERVAL_MS = 60_000;
/** Running nodes update the shared clock at least this often. After a longer pause, all nodes were stopped. */
const SHARED_STEP_MS = 60_000;
/** The interval between two updates of the clock in memory. */
const UPDATE_INTERVAL_MS = 1_000;
/** The machine was suspended if the running times with and without suspension differ by more than this. */
const SUSPEND_MS = 5_000;

/** The system's clock unchanged, for programs without a store. */
export const SYSTEM_CLOCK: Omit<ServerClock, "stop"> = {
  now: Date.now,
  cautious: Date.now,
  jump: undefined,
  accept: async () => undefined,
};

/** @throws {StoreUnavailableError} the stored clock cannot be read */
export async function openServerClock(options: ServerClockOptions): Promise<ServerClock> {
  const runningTime = options.runningTime ?? (await machineRunningTime());
  const clock = new StoredClock({ ...options, runningTime });
  await clock.start();
  return clock;
}

class StoredClock implements ServerClock {
  readonly #options: ServerClockOptions & { runningTime: RunningTime };
  readonly #wall: () => number;
  #state: ClockState;
  /** When `#state` was updated, by `performance.now()`, which stops while the machine is suspended. */
  #at = performance.now();
  /** When `#state` was updated, by a coarser clock that continues while the machine is suspended. */
  #uptime: number;
  /** The version of the stored clock that this node has read or written last. Null: there was none. */
  #version: string | null = null;
  #lastNow = 0;
  /** When the unconfirmed jump was noticed, by the system's clock. */
  #noticedAt: number | undefined;
  /** The deviation with which network time agreed, and since when it has agreed, by `performance.now()`. */
  #agreed: { deviation: number; since: number } | undefined;
  #networkAskedAt = Number.NEGATIVE_INFINITY;
  #lastTask: Promise<unknown> = Promise.resolve();
  #timers: NodeJS.Timeout[] = [];

  constructor(options: ServerClockOptions & { runningTime: RunningTime }) {
    this.#options = options;
    this.#wall = options.sharedWall ?? options.wall ?? Date.now;
    this.#uptime = options.runningTime.now();
    this.#state = newClockState(this.#wall());
  }

  async start(): Promise<void> {
    const { intervalMs = 20_000 } = this.#options;
    await this.#load();
    this.#checkJump();
    await this.#store();
    this.#timers = [
      setInterval(() => this.#update(), Math.min(UPDATE_INTERVAL_MS, intervalMs)).unref(),
      setInterval(() => void this.#enqueue(() => this.#synchronise()), intervalMs).unref(),
    ];
  }

  now(): number {
    // An update may set the clock back by a little. A caller must not get an earlier time than the caller before.
    this.#lastNow = Math.max(this.#lastNow, Math.floor(this.#state.time + performance.now() - this.#at));
    return this.#lastNow;
  }

  cautious(): number {
    return Math.min(this.#wall(), this.now() + this.#state.offset);
  }

  get jump(): ClockJump | undefined {
    if (this.#noticedAt === undefined) return undefined;
    const aheadSeconds = Math.round(deviationOf(this.#state) / 1000);
    const noticedAt = new Date(this.#noticedAt).toISOString();
    return { ahead_seconds: aheadSeconds, noticed_at: noticedAt, message: messageOf(aheadSeconds) };
  }

  accept({ timePassed }: { timePassed: boolean }): Promise<ClockJump | undefined> {
    return this.#enqueue(async () => {
      await this.#merge();
      const { jump } = this;
      if (jump !== undefined) await this.#confirm({ timePassed, trusted: false }, "an operator");
      return jump;
    });
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    // If this write fails, the next start takes the missing time from the machine's running time.
    await this.#enqueue(async () => {
      this.#update();
      await this.#store();
    }).catch(() => undefined);
  }

  /** Runs tasks one after the other, because a task writes values that depend on what it has read. */
  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#lastTask.then(work);
    this.#lastTask = done.catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, "server clock not stored, retrying");
    });
    return done;
  }

  async #synchronise(): Promise<void> {
    this.#update();
    await this.#askNetwork();
    await this.#merge();
    await this.#store();
  }

  #update(): void {
    if (this.#options.sharedWall === undefined) this.#step(this.#wall());
    this.#checkJump();
  }

  #step(wall: number): void {
    const [at, uptime] = [performance.now(), this.#options.runningTime.now()];
    const [ran, withSuspends] = [at - this.#at, uptime - this.#uptime];
    const elapsedMs = withSuspends - ran > SUSPEND_MS ? withSuspends : ran;
    this.#set(advance(this.#state, { wall, elapsedMs }));
  }

  #set(state: ClockState): void {
    this.#state = state;
    this.#at = performance.now();
    this.#uptime = this.#options.runningTime.now();
  }

  /** Detects the start and the end of a jump, and logs it. */
  #checkJump(): void {
    const { logger } = this.#options;
    const jumped = hasJumped(this.#state);
    if (jumped === (this.#noticedAt !== undefined)) return;
    this.#noticedAt = jumped ? this.#state.wall : undefined;
    const { jump } = this;
    if (jump === undefined) logger.info("system clock agrees with the server's own clock again");
    else logger.warn({ aheadSeconds: jump.ahead_seconds }, jump.message);
  }

  async #load(): Promise<void> {
    const { runningTime, sharedWall } = this.#options;
    const stored = await this.#read();
    if (sharedWall !== undefined) {
      await this.#merge();
      return;
    }
    if (stored === undefined) return;
    const { boot, uptime, ...state } = stored;
    const isSameBoot = boot !== undefined && boot === runningTime.boot && this.#uptime >= uptime;
    this.#state = advance(state, { wall: this.#wall(), elapsedMs: isSameBoot ? this.#uptime - uptime : 0 });
  }

  /** With several nodes: merges the clock that the other nodes stored. */
  async #merge(): Promise<void> {
    const { sharedWall } = this.#options;
    if (sharedWall === undefined) return;
    const [stored, wall] = [await this.#read(), sharedWall()];
    if (stored === undefined) {
      // This is the first start, or the store was emptied while this node ran. In this case the clock continues.
      if (this.#timers.length === 0) this.#set(newClockState(wall));
      else this.#step(wall);
      this.#checkJump();
      return;
    }
    // A running node continued its own clock while the store was unavailable. A node that starts has no clock of its
    // own.
    const own = this.#timers.length === 0 ? Number.NEGATIVE_INFINITY : this.now();
    const { time, offset, trusted } = stored;
    const sinceMs = wall - stored.wall;
    // Either some node has updated the clock regularly, or all nodes were stopped for an unknown time.
    const elapsedMs = sinceMs >= 0 && sinceMs <= SHARED_STEP_MS ? sinceMs : 0;
    const next = advance({ time, wall: stored.wall, offset, trusted }, { wall, elapsedMs });
    this.#set({ ...next, time: Math.max(next.time, own) });
    this.#checkJump();
  }

  async #askNetwork(): Promise<void> {
    const { networkTime = networkTimeAgrees, agreementMs = 3_600_000 } = this.#options;
    const at = performance.now();
    if (at - this.#networkAskedAt < Math.min(NETWORK_INTERVAL_MS, agreementMs / 4)) return;
    this.#networkAskedAt = at;
    // One node's network time says nothing about the shared clock.
    const agrees = this.#options.sharedWall === undefined ? await networkTime() : undefined;
    if (agrees !== true) this.#agreed = undefined;
    else if (this.#noticedAt === undefined) {
      this.#agreed = undefined;
      this.#state = { ...this.#state, trusted: true };
    } else {
      const deviation = deviationOf(this.#state);
      const isSame = this.#agreed !== undefined && Math.abs(deviation - this.#agreed.deviation) <= JUMP_MS;
      if (!isSame) this.#agreed = { deviation, since: at };
      // If network time had confirmed the system's clock before the jump, the server was off for the length of the
      // jump. Otherwise the jump corrected the clock.
      else if (this.#agreed !== undefined && at - this.#agreed.since >= agreementMs)
        await this.#confirm({ timePassed: this.#state.trusted, trusted: true }, "network time");
    }
  }

  async #confirm(how: { timePassed: boolean; trusted: boolean }, by: string): Promise<void> {
    const aheadSeconds = Math.round(deviationOf(this.#state) / 1000);
    this.#confirmState(how);
    while (!(await this.#save())) {
      await this.#merge();
      if (hasJumped(this.#state)) this.#confirmState(how);
    }
    this.#options.logger.warn({ aheadSeconds, timePassed: how.timePassed, by }, "system clock confirmed");
  }

  #confirmState(how: { timePassed: boolean; trusted: boolean }): void {
    const { time, wall } = this.#state;
    const now = this.now();
    this.#set(confirm({ ...this.#state, time: now, wall: wall + now - time }, how));
    this.#agreed = undefined;
    this.#noticedAt = undefined;
  }

  async #read(): Promise<z.infer<typeof storedSchema> | undefined> {
    const found = await this.#options.documents.get(DOCUMENT.collection, DOCUMENT.key);
    this.#version = found?.version ?? null;
    return storedSchema.safeParse(found?.value).data;
  }

  /** Merges again what another node has stored meanwhile: it may be the confirmation of a jump. */
  async #store(): Promise<void> {
    while (!(await this.#save())) await this.#merge();
  }

  /** @returns false: another node has stored its clock after this node had read it */
  async #save(): Promise<boolean> {
    const { documents, runningTime, sharedWall } = this.#options;
    const { time, wall, offset, trusted } = this.#state;
    const boot = runningTime.boot === undefined ? {} : { boot: runningTime.boot };
    const value = { time, wall, offset, trusted, uptime: this.#uptime, ...boot };
    const condition = sharedWall === undefined ? {} : { ifVersion: this.#version };
    const version = await documents.put(DOCUMENT.collection, DOCUMENT.key, value, condition);
    this.#version = version ?? this.#version;
    return version !== undefined;
  }
}

function messageOf(aheadSeconds: number): string {
  const what = `The system clock is ${duration(Math.abs(aheadSeconds))} ${aheadSeconds > 0 ? "ahead of" : "behind"} the server's own`;
  if (aheadSeconds < 0)
    return `${what}: it was set back. Nothing expires because of it. Correct it, or confirm it with: skylapse clock accept`;
  return (
    `${what}: it was set, or the machine was off for that long. Nothing expires because of it. ` +
    "Correct the clock; or, if the machine was off, count that time with: skylapse clock accept; " +
    "or, if the clock was wrong before and is right now, confirm it with: skylapse clock accept --no-time-passed"
  );
}

/** `7 min`, `5 h`, `2 d` */
function duration(seconds: number): string {
  if (seconds < 2 * 3_600) return `${Math.round(seconds / 60)} min`;
  return seconds < 2 * 86_400 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}
