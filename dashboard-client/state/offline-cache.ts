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

/** For example `localStorage`. */
export interface TextStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** The most events, and the most gaps, that are kept. */
export const MAX_CACHED_EVENTS = 50;
/** The longest cache, UTF-16 units. Browsers allow a site about five million units. */
const MAX_CACHE_LENGTH = 1_000_000;

const cacheSchema = z.object({
  v: z.literal(1),
  cursor: sinceSchema.optional(),
  /** Until when the state was current, milliseconds since 1970. */
  asOf: z.number(),
  state: z.array(dashboardEventSchema),
  /** Newest first. */
  events: z.array(dashboardEventSchema).max(MAX_CACHED_EVENTS),
  /** Newest first. */
  gaps: z
    .array(
      z.object({
        channel: z.string(),
        reason: z.enum([...unrecoverableReasonSchema.options, "interrupted"]),
        after: z.number(),
        before: z.number(),
        at: z.number(),
        /** How many of `events` are newer than the gap. Positions do not show that, as each epoch has its own positions. */
        newer: z.number().int().nonnegative(),
      }),
    )
    .max(MAX_CACHED_EVENTS),
});

interface Cached {
  state: DashboardState;
  cursor: Since | undefined;
  asOf: number;
}

interface OfflineCacheOptions {
  /** Undefined: nothing is kept. */
  storage: TextStorage | undefined;
  key: string;
  report: ProblemReporter;
}

/**
 * Keeps the state of a channel across a page reload. One write contains both the cursor and the state: a cursor without
 * the state would skip the events that produced the state, and a state without the cursor would receive these events
 * twice. The state is stored as the events that produced it.
 */
export class OfflineCache {
  readonly #options: OfflineCacheOptions;
  #usable = true;

  constructor(options: OfflineCacheOptions) {
    this.#options = options;
  }

  /** Undefined if there is no cache, or if the cache cannot be read. */
  load(): Cached | undefined {
    const { storage, key } = this.#options;
    try {
      const text = storage?.getItem(key) ?? null;
      if (text === null) return undefined;
      const { cursor, asOf, state, events, gaps } = cacheSchema.parse(JSON.parse(text));
      let restored = EMPTY_STATE;
      for (const event of state) restored = applyEvent(restored, { ...event, snapshot: true });
      for (const event of events.toReversed()) restored = restoreEvent(restored, event);
      for (const { newer, ...gap } of gaps.toReversed()) restored = insertGap(restored, gap, events[newer]);
      return { state: { ...restored, newEvents: 0 }, cursor, asOf };
    } catch (error) {
      this.#reportFailure("the cached state cannot be read; starting without it", error);
      this.clear();
      return undefined;
    }
  }

  save({ state, cursor, asOf }: Cached): void {
    const { storage, key } = this.#options;
    if (storage === undefined || !this.#usable) return;
    const events = state.events.slice(0, MAX_CACHED_EVENTS);
    const gaps = placedGaps(state).slice(0, MAX_CACHED_EVENTS);
    const stateEvents = [...[...state.retained.entries()].map(([, event]) => event), ...state.latest.values()];
    try {
      const whole = JSON.stringify({ v: 1, cursor, asOf, state: stateEvents, events, gaps });
      // If the text is too long, state and cursor are left out: after a reload, the client asks the server for the
      // state.
      const text = whole.length > MAX_CACHE_LENGTH ? JSON.stringify({ v: 1, asOf, state: [], events, gaps }) : whole;
      storage.setItem(key, text);
    } catch (error) {
      this.#usable = false;
      this.#reportFailure("the state is no longer cached for reloads", error);
      this.clear();
    }
  }

  clear(): void {
    try {
      this.#options.storage?.removeItem(this.#options.key);
    } catch (error) {
      this.#reportFailure("the cached state cannot be removed", error);
    }
  }

  #reportFailure(message: string, detail: unknown): void {
    this.#options.report({ kind: "storage", message, detail });
  }
}

/** Restores only `events` and `activity`. */
function restoreEvent(state: DashboardState, event: DashboardEvent): DashboardState {
  const { events, activity } = applyEvent(state, event);
  return { ...state, events, activity };
}

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
