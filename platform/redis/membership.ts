import { createHash, randomBytes } from "node:crypto";
import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { z } from "zod";
import type { SharedSettings } from "../config.ts";
import { Listeners } from "../listeners.ts";
import { Agreement, type Disagreement, type Member } from "./agreement.ts";
import { type Script, SERVER_TIME, scriptsOf } from "./script.ts";
import { IncompatibleFormatsError, SHARED_FORMATS, type SharedFormats, UNANNOUNCED_FORMATS } from "./shared-formats.ts";

const { load } = scriptsOf(import.meta.url);
const BEAT = load("beat", SERVER_TIME);
const MEMBERS = load("members");
const LEAVE = load("leave");

export const HEARTBEAT_MS = 1_500;
/** A node without a heartbeat for this long is dead. Every node knows within one more heartbeat. */
export const DEAD_AFTER_MS = 10_000;
/** The interval of heartbeats while Redis is unavailable. */
const RETRY_MS = 500;
const START_RETRY_MS = 100;
/** A slower heartbeat does not measure the time: this program may have been suspended meanwhile. */
const MAX_ROUND_TRIP_MS = 1_000;
/** The answer to a node that Redis did not let join. */
const DOES_NOT_JOIN = 2;
/** The clock of Redis was set back if it differs by more. */
const MAX_CORRECTION_MS = 1_000;

type Run = (script: Script, keys: readonly string[], args: readonly (string | number)[]) => Promise<unknown>;

export interface MembershipOptions {
  /** Sends a script. Every method may throw {@link StoreUnavailableError}. */
  run: Run;
  /** The prefix of every key. */
  prefix: string;
  /**
   * A name of this node that stays the same over restarts. Two running nodes must not have the same name: a node that
   * starts takes an earlier one of its name for dead after two missed heartbeats. Default: none.
   */
  name?: string | undefined;
  /** The settings that must be the same at all nodes. Default: none. */
  settings?: SharedSettings | undefined;
  logger: Logger;
  /** Default {@link HEARTBEAT_MS}. */
  heartbeatMs?: number | undefined;
  /** Default {@link DEAD_AFTER_MS}. Must be longer than six intervals of heartbeats. */
  deadAfterMs?: number | undefined;
  /** The clock of this machine. Default: `Date.now`. */
  wall?: (() => number) | undefined;
  /** Default: {@link SHARED_FORMATS}. */
  formats?: SharedFormats | undefined;
}

const aboutSchema = z.object({
  ...{ name: z.string().default(""), startedAt: z.number().default(0), clockMs: z.number().optional() },
  formats: z.object({ version: z.number(), oldest: z.number() }).default(UNANNOUNCED_FORMATS),
});
const memberSchema = z.tuple([z.string(), z.coerce.number(), z.string()]);
const beatenSchema = z.tuple([...memberSchema.def.items, z.string()]);
const beatSchema = z.tuple([z.number(), z.number()]).rest(beatenSchema);

/**
 * Which nodes live, for all parts of the server. Each node sends heartbeats. A node that is silent for too long is removed
 * from the sorted set {@link key}: from then on it is dead for everybody, and scripts of any part may give away what it
 * had. When it comes back, it learns that it was taken for dead, and registers everything again.
 */
export class Membership {
  /** A random id of this run of this node. */
  readonly nodeId = randomBytes(9).toString("base64url");
  readonly name: string;
  /** The sorted set of living nodes. A script asks with `ZSCORE` whether a node lives. */
  readonly key: string;
  readonly deadAfterMs: number;
  readonly #options: MembershipOptions;
  readonly #keys: readonly string[];
  readonly #settings: string;
  readonly #digest: string;
  readonly #agreement: Agreement;
  readonly #beats: Listeners<[]>;
  readonly #rejoins: Listeners<[]>;
  readonly #livings: Listeners<[ReadonlySet<string>]>;
  #beating: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #failed = false;
  /** The time of Redis at the first heartbeat. */
  #startedAt: number | undefined;
  /** Whether Redis has the settings of this node. */
  #hasSettings = false;
  #aliveUntil = 0;
  /** How far the clock of this machine is ahead of the clock of Redis. */
  #clockMs: number | undefined;
  #lastNow = 0;
  /** The time of Redis, and when it was that, by `performance.now()`. */
  #measured: { time: number; at: number } | undefined;

  constructor(options: MembershipOptions) {
    const { prefix, name = "", settings = new Map(), logger, deadAfterMs = DEAD_AFTER_MS } = options;
    this.#options = options;
    this.name = name;
    this.deadAfterMs = deadAfterMs;
    this.key = `${prefix}members`;
    this.#keys = [this.key, ...["about", "settings", "since", "formats"].map((part) => `${this.key}:${part}`)];
    this.#settings = JSON.stringify(Object.fromEntries([...settings].map(([key, { value }]) => [key, value]).sort()));
    this.#digest = createHash("sha256").update(this.#settings).digest("base64url").slice(0, 16);
    this.#agreement = new Agreement({ nodeId: this.nodeId, name, settings, logger });
    this.#beats = new Listeners(logger);
    this.#rejoins = new Listeners(logger);
    this.#livings = new Listeners(logger);
  }

  /**
   * Joins the other nodes. If this version does not work with one of them, waits until that node is dead or sends a
   * heartbeat.
   * @throws {StoreUnavailableError} Redis accepts no heartbeat within `timeoutMs` @throws {IncompatibleFormatsError}
   */
  async start(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    let before: unknown;
    for (;;) {
      try {
        await this.beat();
        // The first heartbeat has measured the clock. The second one tells the others.
        await this.beat();
        return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        if (error instanceof IncompatibleFormatsError && error.isFinal(before)) throw error;
        before = error;
        await after(START_RETRY_MS);
      }
    }
  }

  /** Sends a heartbeat now, then at an interval. Concurrent calls share one. @throws {StoreUnavailableError} */
  beat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = undefined;
      this.#schedule();
    });
    return this.#beating;
  }

  /** Calls back after each heartbeat, even one that has failed. @returns removes the listener */
  onBeat(listener: () => void): () => void {
    return this.#beats.add(listener);
  }

  /** Calls back when this node was taken for dead, or Redis was emptied: what it had registered is gone. */
  onRejoin(listener: () => void): () => void {
    return this.#rejoins.add(listener);
  }

  /** Calls back with the ids of the living nodes, including this one, after each successful heartbeat. */
  onNodes(listener: (living: ReadonlySet<string>) => void): () => void {
    return this.#livings.add(listener);
  }

  /** Until then, nobody takes this node for dead. In milliseconds of `performance.now()`. */
  get aliveUntil(): number {
    return this.#aliveUntil;
  }

  /** The clock of Redis, which all nodes share, milliseconds since 1970. Small corrections do not set it back. */
  now(): number {
    const { wall = Date.now } = this.#options;
    const measured = this.#measured;
    const time = measured === undefined ? wall() : Math.floor(measured.time + performance.now() - measured.at);
    if (time > this.#lastNow || time < this.#lastNow - MAX_CORRECTION_MS) this.#lastNow = time;
    return this.#lastNow;
  }

  /** In which settings, and by how much in their clocks, this node and others differ. */
  get disagreements(): readonly Disagreement[] {
    return this.#agreement.disagreements;
  }

  /** The living nodes, including this one. @throws {StoreUnavailableError} */
  async nodes(): Promise<readonly Member[]> {
    const reply = await this.#options.run(MEMBERS, this.#keys.slice(0, 2), []);
    return z.array(memberSchema).parse(reply).map(memberOf);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#beating?.catch(() => {});
  }

  /** Stops. For the other nodes, this node has ended at once. @throws {StoreUnavailableError} it is taken for dead later */
  async leave(): Promise<void> {
    await this.stop();
    this.#aliveUntil = 0;
    await this.#options.run(LEAVE, this.#keys.slice(0, 3), [this.nodeId]);
  }

  async #beat(): Promise<void> {
    clearTimeout(this.#timer);
    const { run, logger, wall = Date.now, formats = SHARED_FORMATS } = this.#options;
    const { name, deadAfterMs } = this;
    const isFirst = this.#startedAt === undefined;
    const sentAt = performance.now();
    const about = { name, startedAt: this.#startedAt ?? 0, clockMs: this.#clockMs, digest: this.#digest, formats };
    const args = [this.nodeId, JSON.stringify(about), this.#hasSettings ? "" : this.#settings, deadAfterMs];
    args.push(deadAfterMs / 3, isFirst ? 1 : 0, JSON.stringify(UNANNOUNCED_FORMATS));
    try {
      const [now, wasLost, ...members] = beatSchema.parse(await run(BEAT, this.#keys, args));
      if (wasLost === DOES_NOT_JOIN) throw incompatibleWith(members, formats);
      const answeredAt = performance.now();
      this.#failed = false;
      this.#hasSettings = wasLost === 0;
      this.#startedAt ??= now;
      if (this.#measured === undefined || answeredAt - sentAt <= MAX_ROUND_TRIP_MS) {
        this.#measured = { time: now, at: (sentAt + answeredAt) / 2 };
        this.#clockMs = Math.round(wall() - now - (answeredAt - sentAt) / 2);
      }
      if (wasLost === 1 && !this.#stopped) {
        logger.warn("this node was taken for dead, or redis was emptied: registering everything again");
        this.#rejoins.call();
      }
      this.#aliveUntil = sentAt + this.deadAfterMs;
      this.#agreement.compare(
        members.map(([id, seen, text, settings]) => ({ ...memberOf([id, seen, text]), settings })),
        { clockMs: this.#clockMs, startedAt: this.#startedAt },
      );
      if (!this.#stopped) this.#livings.call(new Set(members.map(([id]) => id)));
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      if (!this.#stopped) this.#beats.call();
    }
  }

  #schedule(): void {
    if (this.#stopped) return;
    const { heartbeatMs = HEARTBEAT_MS } = this.#options;
    clearTimeout(this.#timer);
    const waitMs = this.#failed ? Math.min(RETRY_MS, heartbeatMs) : heartbeatMs;
    this.#timer = setTimeout(() => void this.beat().catch(() => {}), waitMs).unref();
  }
}

function memberOf([id, lastSeenAt, text]: z.infer<typeof memberSchema>): Member {
  const { name, startedAt, clockMs } = aboutSchema.parse(JSON.parse(text));
  return { id, name, startedAt, lastSeenAt, clockMs };
}

function incompatibleWith([other]: readonly z.infer<typeof beatenSchema>[], own: SharedFormats): Error {
  const [id = "", lastSeenAt = 0, text = "{}"] = other ?? [];
  return new IncompatibleFormatsError(own, { id, lastSeenAt, ...aboutSchema.parse(JSON.parse(text)) });
}
