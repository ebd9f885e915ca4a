import type { Logger } from "pino";
import { z } from "zod";
import type { ClockJump } from "../../contract/events.ts";
import type { Documents } from "../cluster/cluster.ts";
import { advance, type ClockState, confirm, deviationOf, hasJumped, JUMP_MS, newClockState } from "./clock-state.ts";
import { machineRunningTime, type RunningTime } from "./machine-running-time.ts";
import { networkTimeAgrees } from "./network-time.ts";

/**
 * The server's own clock. By it grows old what retention, sessions, pictures, alerts and presence count: it moves with
 * running time alone, and follows the system's clock in small steps. A jump of the system's clock, while the server runs
 * or between two starts, is named, and changes nothing until somebody confirms it: an operator, or network time that has
 * agreed for an hour. A stop of the machine cannot be told from a clock that was set ahead, so it is one.
 */
export interface ServerClock {
  /** Milliseconds since 1970, give or take what the system's clock is off. Never goes back. */
  now(): number;
  /**
   * The system's clock, or what it would be without a jump that nobody has confirmed: the earlier of both. By it ends what
   * has its end by the system's clock.
   */
  cautious(): number;
  /** The jump that nobody has confirmed; undefined without one. */
  readonly jump: ClockJump | undefined;
  /**
   * An operator says that the system's clock is right.
   * @param options.timePassed the server stood still for that long: everything is older by it
   * @returns the jump that was confirmed; undefined when there was none
   */
  accept(options: { timePassed: boolean }): Promise<ClockJump | undefined>;
  stop(): Promise<void>;
}

export interface ServerClockOptions {
  documents: Pick<Documents, "get" | "put">;
  /** What all nodes take for the system's clock; undefined for this machine's own, of one node. */
  sharedWall?: (() => Promise<number>) | undefined;
  logger: Logger;
  /** The system's clock, milliseconds since 1970. Default: `Date.now`. */
  wall?: () => number;
  /** Default: the machine's. */
  runningTime?: RunningTime;
  /** Default: what the machine's services tell. */
  networkTime?: () => Promise<boolean | undefined>;
  /** Between two looks at the clocks, milliseconds. Default 20,000. */
  intervalMs?: number;
  /** How long network time must agree before a jump is confirmed by it, milliseconds. Default 3,600,000. */
  agreementMs?: number;
}

const DOCUMENT = { collection: "clock", key: "server" } as const;
const storedSchema = z.object({
  ...{ time: z.number(), wall: z.number(), offset: z.number(), trusted: z.boolean() },
  boot: z.string().optional(),
  uptime: z.number(),
});
const NETWORK_INTERVAL_MS = 60_000;
/** The longest time between two looks of nodes that run: what is longer was a stop of all. */
const SHARED_STEP_MS = 60_000;
const LOOK_MS = 1_000;

/** The system's clock as it is, for what has no store to keep a clock in. */
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
  /** The running time at `#state`, by two clocks: one is fine, the other counts what the machine was suspended, too. */
  #at = performance.now();
  #uptime: number;
  /** The last moment that {@link now} has told. */
  #told = 0;
  #noticedAt: number | undefined;
  /** This machine's clock is not the one that the nodes share. */
  #differs = false;
  /** The deviation that network time agrees with, and since when, by `performance.now()`. */
  #agreed: { deviation: number; since: number } | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #working: Promise<unknown> = Promise.resolve();
  #timers: NodeJS.Timeout[] = [];

  constructor(options: ServerClockOptions & { runningTime: RunningTime }) {
    this.#options = options;
    this.#wall = options.wall ?? Date.now;
    this.#uptime = options.runningTime.now();
    this.#state = newClockState(this.#wall());
  }

  async start(): Promise<void> {
    const { intervalMs = 20_000 } = this.#options;
    await this.#load();
    this.#judge();
    await this.#save();
    this.#timers = [
      setInterval(() => this.#look(), Math.min(LOOK_MS, intervalMs)).unref(),
      setInterval(() => void this.#inTurn(() => this.#tend()), intervalMs).unref(),
    ];
  }

  now(): number {
    // A step back towards the system's clock is shorter than the time that has passed, but for what was told meanwhile.
    this.#told = Math.max(this.#told, Math.floor(this.#state.time + performance.now() - this.#at));
    return this.#told;
  }

  cautious(): number {
    return Math.min(this.#wall(), this.now() + this.#state.offset);
  }

  get jump(): ClockJump | undefined {
    if (this.#noticedAt === undefined) return undefined;
    const aheadSeconds = Math.round(deviationOf(this.#state) / 1000);
    return {
      ahead_seconds: aheadSeconds,
      noticed_at: new Date(this.#noticedAt).toISOString(),
      message: messageOf(aheadSeconds),
    };
  }

  accept({ timePassed }: { timePassed: boolean }): Promise<ClockJump | undefined> {
    return this.#inTurn(async () => {
      await this.#meet();
      const { jump } = this;
      if (jump !== undefined) await this.#confirm({ timePassed, trusted: false }, "an operator");
      return jump;
    });
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    // The store may be away: what is not stored is counted by the machine's running time at the next start.
    await this.#inTurn(async () => {
      this.#look();
      await this.#save();
    }).catch(() => undefined);
  }

  /** One after the other: each writes what it has read. Never rejects but with what its caller waits for. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#working.then(work);
    this.#working = done.catch((error: unknown) => {
      this.#options.logger.debug({ err: error }, "the server's clock is not stored, trying again");
    });
    return done;
  }

  async #tend(): Promise<void> {
    this.#look();
    await this.#askNetwork();
    await this.#meet();
    await this.#save();
  }

  /** The running time since the last look, and where the system's clock is now. */
  #look(): void {
    if (this.#options.sharedWall === undefined) this.#step(this.#wall());
    this.#judge();
  }

  #step(wall: number): void {
    const [at, uptime] = [performance.now(), this.#options.runningTime.now()];
    const [ran, withSuspends] = [at - this.#at, uptime - this.#uptime];
    const elapsedMs = withSuspends - ran > LOOK_MS * 5 ? withSuspends : ran;
    this.#set(advance(this.#state, { wall, elapsedMs }));
  }

  #set(state: ClockState): void {
    this.#state = state;
    this.#at = performance.now();
    this.#uptime = this.#options.runningTime.now();
  }

  /** Says that there is a jump, or that there is none any more. */
  #judge(): void {
    const { logger } = this.#options;
    const jumped = hasJumped(this.#state);
    if (jumped === (this.#noticedAt !== undefined)) return;
    this.#noticedAt = jumped ? this.#state.wall : undefined;
    const { jump } = this;
    if (jump === undefined) logger.info("the system clock is back where the server's own clock is");
    else logger.warn({ aheadSeconds: jump.ahead_seconds }, jump.message);
  }

  async #load(): Promise<void> {
    const { runningTime, sharedWall } = this.#options;
    const stored = await this.#read();
    if (sharedWall !== undefined) {
      await this.#meet();
      return;
    }
    if (stored === undefined) return;
    const { boot, uptime, ...state } = stored;
    const isSameBoot = boot !== undefined && boot === runningTime.boot && this.#uptime >= uptime;
    this.#state = advance(state, { wall: this.#wall(), elapsedMs: isSameBoot ? this.#uptime - uptime : 0 });
  }

  /** Of several nodes: what the others have made of the clock. */
  async #meet(): Promise<void> {
    const { sharedWall } = this.#options;
    if (sharedWall === undefined) return;
    const [stored, wall] = [await this.#read(), await sharedWall()];
    this.#compare(wall);
    if (stored === undefined) {
      // The first start, or the store was emptied: then this node's clock is the one that is left.
      if (this.#timers.length === 0) this.#set(newClockState(wall));
      else this.#step(wall);
      this.#judge();
      return;
    }
    // What this node has run by itself while the store was away counts; at its start there is nothing of its own.
    const own = this.#timers.length === 0 ? Number.NEGATIVE_INFINITY : this.now();
    const { time, offset, trusted } = stored;
    const sinceMs = wall - stored.wall;
    // Some node has looked at the clock all the time, or else all stood still and nobody knows for how long.
    const elapsedMs = sinceMs >= 0 && sinceMs <= SHARED_STEP_MS ? sinceMs : 0;
    const next = advance({ time, wall: stored.wall, offset, trusted }, { wall, elapsedMs });
    this.#set({ ...next, time: Math.max(next.time, own) });
    this.#judge();
  }

  /** Tokens and what people see go by the clock of each machine. */
  #compare(sharedWall: number): void {
    const aheadSeconds = Math.round((this.#wall() - sharedWall) / 1000);
    const differs = Math.abs(aheadSeconds) * 1000 > JUMP_MS;
    if (differs && !this.#differs)
      this.#options.logger.warn({ aheadSeconds }, "the clock of this machine is not that of Redis: put it right");
    this.#differs = differs;
  }

  async #askNetwork(): Promise<void> {
    const { networkTime = networkTimeAgrees, agreementMs = 3_600_000 } = this.#options;
    const at = performance.now();
    if (at - this.#askedAt < Math.min(NETWORK_INTERVAL_MS, agreementMs / 4)) return;
    this.#askedAt = at;
    // Of a shared clock, a node's own network time tells nothing.
    const agrees = this.#options.sharedWall === undefined ? await networkTime() : undefined;
    if (agrees !== true) this.#agreed = undefined;
    else if (this.#noticedAt === undefined) {
      this.#agreed = undefined;
      this.#state = { ...this.#state, trusted: true };
    } else {
      const deviation = deviationOf(this.#state);
      const isSame = this.#agreed !== undefined && Math.abs(deviation - this.#agreed.deviation) <= JUMP_MS;
      if (!isSame) this.#agreed = { deviation, since: at };
      // Right before and right now: the difference is time that passed. Else the clock was put right.
      else if (this.#agreed !== undefined && at - this.#agreed.since >= agreementMs)
        await this.#confirm({ timePassed: this.#state.trusted, trusted: true }, "network time");
    }
  }

  async #confirm(how: { timePassed: boolean; trusted: boolean }, by: string): Promise<void> {
    const before = this.#state;
    const time = this.now();
    this.#set(confirm({ ...before, time, wall: before.wall + time - before.time }, how));
    this.#agreed = undefined;
    this.#noticedAt = undefined;
    await this.#save();
    const aheadSeconds = Math.round(deviationOf(before) / 1000);
    this.#options.logger.warn({ aheadSeconds, timePassed: how.timePassed, by }, "the system clock is confirmed");
  }

  async #read(): Promise<z.infer<typeof storedSchema> | undefined> {
    const found = await this.#options.documents.get(DOCUMENT.collection, DOCUMENT.key);
    return storedSchema.safeParse(found?.value).data;
  }

  async #save(): Promise<void> {
    const { documents, runningTime } = this.#options;
    const { time, wall, offset, trusted } = this.#state;
    const boot = runningTime.boot === undefined ? {} : { boot: runningTime.boot };
    const value = { time, wall, offset, trusted, uptime: this.#uptime, ...boot };
    await documents.put(DOCUMENT.collection, DOCUMENT.key, value);
  }
}

function messageOf(aheadSeconds: number): string {
  const what = `The system clock is ${duration(Math.abs(aheadSeconds))} ${aheadSeconds > 0 ? "ahead of" : "behind"} the server's own`;
  if (aheadSeconds < 0)
    return `${what}: it was set back. Nothing grows old or is removed because of it. Put it right, or confirm it with: skylapse clock accept`;
  return (
    `${what}: it was set, or the machine was off for that long. Nothing is removed because of it. ` +
    "Put it right; or, if the machine was off, let everything be older by it with: skylapse clock accept; " +
    "or, if the clock was only put right, with: skylapse clock accept --no-time-passed"
  );
}

/** `7 min`, `5 h`, `2 d` */
function duration(seconds: number): string {
  if (seconds < 2 * 3_600) return `${Math.round(seconds / 60)} min`;
  return seconds < 2 * 86_400 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}
