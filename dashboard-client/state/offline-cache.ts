import { z } from "zod";
import {
  type DashboardEvent,
  dashboardEventSchema,
  type Since,
  sinceSchema,
  unrecoverableReasonSchema,
} from "../../contract/socket-messages.ts";
import type { ProblemReporter } from "../client/problems.ts";
import type { ReportedGap } from "../client/subscription.ts";
import { applyEvent, type DashboardState, EMPTY_STATE } from "./dashboard-state.ts";

/** `localStorage`, `sessionStorage`, or anything that keeps text by name. */
export interface TextStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** How many events of the feed are kept. */
export const MAX_CACHED_EVENTS = 50;
/** The most that is written, UTF-16 units: browsers give a site some five million in all. */
export const MAX_CACHE_LENGTH = 1_000_000;

const cacheSchema = z.object({
  v: z.literal(1),
  cursor: sinceSchema.optional(),
  /** When the server was last heard: up to then, what is kept was right. Milliseconds since 1970. */
  asOf: z.number(),
  /** The events that the state is made of. */
  state: z.array(dashboardEventSchema),
  /** Newest first. */
  events: z.array(dashboardEventSchema).max(MAX_CACHED_EVENTS),
  /** Newest first; a hole in the feed stays visible. */
  gaps: z
    .array(
      z.object({
        channel: z.string(),
        reason: z.enum([...unrecoverableReasonSchema.options, "interrupted"]),
        after: z.number(),
        before: z.number(),
        at: z.number(),
        /** How many of `events` are newer: positions do not tell, for they may begin anew. */
        newer: z.number().int().nonnegative(),
      }),
    )
    .max(MAX_CACHED_EVENTS),
});

export interface Cached {
  state: DashboardState;
  cursor: Since | undefined;
  asOf: number;
}

export interface OfflineCacheOptions {
  /** Undefined: nothing is kept. */
  storage: TextStorage | undefined;
  key: string;
  report: ProblemReporter;
}

/**
 * The state of a channel over a page reload. The place to resume from and the state it belongs to are one value,
 * written by one call: a place without its state would skip what made the state, a state without its place would be
 * told twice. What is kept are events as the server sent them; the state is made from them again, by the same code.
 */
export class OfflineCache {
  readonly #options: OfflineCacheOptions;
  #usable = true;

  constructor(options: OfflineCacheOptions) {
    this.#options = options;
  }

  /** What was kept; undefined when there is nothing, or nothing that is understood. */
  load(): Cached | undefined {
    const { storage, key } = this.#options;
    try {
      const text = storage?.getItem(key) ?? null;
      if (text === null) return undefined;
      const { cursor, asOf, state, events, gaps } = cacheSchema.parse(JSON.parse(text));
      let restored = EMPTY_STATE;
      for (const event of state) restored = applyEvent(restored, { ...event, snapshot: true });
      for (const event of events.toReversed()) restored = applyFeed(restored, event);
      for (const { newer, ...gap } of gaps.toReversed()) restored = insertGap(restored, gap, events[newer]);
      return { state: { ...restored, newEvents: 0 }, cursor, asOf };
    } catch (error) {
      this.#trouble("what was kept over the reload cannot be read; starting afresh", error);
      this.clear();
      return undefined;
    }
  }

  save({ state, cursor, asOf }: Cached): void {
    const { storage, key } = this.#options;
    if (storage === undefined || !this.#usable) return;
    const events = state.events.slice(0, MAX_CACHED_EVENTS);
    const gaps = placedGaps(state).slice(0, MAX_CACHED_EVENTS);
    const made = [...[...state.retained.entries()].map(([, event]) => event), ...state.latest.values()];
    try {
      const whole = JSON.stringify({ v: 1, cursor, asOf, state: made, events, gaps });
      // Too much state: keep what there is to look at, and no place, so that the state is asked for.
      const text = whole.length > MAX_CACHE_LENGTH ? JSON.stringify({ v: 1, asOf, state: [], events, gaps }) : whole;
      storage.setItem(key, text);
    } catch (error) {
      this.#usable = false;
      this.#trouble("nothing more is kept over reloads", error);
      this.clear();
    }
  }

  clear(): void {
    try {
      this.#options.storage?.removeItem(this.#options.key);
    } catch (error) {
      this.#trouble("what was kept cannot be removed", error);
    }
  }

  #trouble(message: string, detail: unknown): void {
    this.#options.report({ kind: "storage", message, detail });
  }
}

/** Back into the feed, without being taken for news about the state, which was kept apart. */
function applyFeed(state: DashboardState, event: DashboardEvent): DashboardState {
  const { events, activity } = applyEvent(state, event);
  return { ...state, events, activity };
}

/** Each gap with the number of events that are newer. */
function placedGaps({ activity, events }: DashboardState): (ReportedGap & { newer: number })[] {
  return activity.flatMap((item, index) => {
    if (item.kind !== "gap") return [];
    const older = activity.slice(index).find((other) => other.kind === "event");
    return [{ ...item.gap, newer: older === undefined ? events.length : events.indexOf(older.event) }];
  });
}

function insertGap(state: DashboardState, gap: ReportedGap, older: DashboardEvent | undefined): DashboardState {
  const found = state.activity.findIndex((item) => item.kind === "event" && item.event === older);
  const index = found === -1 ? state.activity.length : found;
  return { ...state, gap, activity: state.activity.toSpliced(index, 0, { kind: "gap", gap }) };
}
