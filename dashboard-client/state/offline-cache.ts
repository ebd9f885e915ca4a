import { UNRECOVERABLE_REASONS } from "../../contract/codes.ts";
import { type Guard, list, number, object, oneOf, optional, text, whole } from "../../contract/guards.ts";
import { isServerMessage } from "../../contract/server-message.ts";
import type { DashboardEvent, Since } from "../../contract/socket-messages.ts";
import type { ProblemReporter } from "../client/problems.ts";
import type { ReportedGap } from "../client/subscription.ts";
import { applyEvent, type DashboardState, EMPTY_STATE, mergeStates } from "./dashboard-state.ts";
import type { OwnerEvents } from "./retained-events.ts";
import type { StateStorage, StorageChange } from "./state-storage.ts";

/** For example `localStorage`. */
export interface TextStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** The most events, and the most gaps, that are kept. */
export const MAX_CACHED_EVENTS = 50;
/** Another page that has written within this time, milliseconds, keeps the cache. */
const OTHER_WRITER_MS = 5_000;

/** A gap, and how many of the cached events are newer. Positions do not show that, as each epoch has its own positions. */
type PlacedGap = ReportedGap & { newer: number };

/** The row `head`. */
interface Head {
  v: 2;
  cursor?: Since | undefined;
  /** Until when the state was current, milliseconds since 1970. */
  asOf: number;
  /** Newest first. */
  events: DashboardEvent[];
  /** Newest first. */
  gaps: PlacedGap[];
  writer: string;
  /** When the writer wrote, milliseconds since 1970. 0: the page was hidden, perhaps for good, so any page may write. */
  savedAt: number;
}

const isEvent: Guard<DashboardEvent> = (value): value is DashboardEvent =>
  isServerMessage(value) && value.type === "dashboard_event";

const isHead: Guard<Head> = object({
  v: (value): value is 2 => value === 2,
  cursor: optional(object<Since>({ epoch: text(64), position: whole(0) })),
  asOf: number(),
  events: list(isEvent, MAX_CACHED_EVENTS),
  gaps: list(
    object<PlacedGap>({
      channel: text(),
      reason: oneOf(...UNRECOVERABLE_REASONS, "interrupted"),
      after: number(),
      before: number(),
      at: number(),
      newer: whole(0),
    }),
    MAX_CACHED_EVENTS,
  ),
  writer: text(),
  savedAt: number(),
});

const isRow = list(isEvent, Number.POSITIVE_INFINITY);

const HEAD = "head";

/** What a row contains: the retained events of an owner, or one event. Both are immutable. */
type RowSource = OwnerEvents | DashboardEvent;

interface Cached {
  state: DashboardState;
  cursor: Since | undefined;
  asOf: number;
}

interface OfflineCacheOptions {
  /** Undefined: nothing is kept. */
  storage: StateStorage | undefined;
  key: string;
  report: ProblemReporter;
}

/**
 * Keeps the state of a channel across a page reload. One write contains both the cursor and the state: a cursor without
 * the state would skip the events that produced the state, and a state without the cursor would receive these events
 * twice. The state is stored as the events that produced it: a row for each owner of retained topics (`cameras/north`), and
 * a row for each latest event of a camera. A write contains only the rows that have changed.
 *
 * Of several pages with one cache, one writes at a time: rows of two pages would belong to different cursors. A page that
 * takes over replaces all rows.
 */
export class OfflineCache {
  readonly #options: OfflineCacheOptions;
  readonly #writer = Math.random().toString(36).slice(2);
  #usable = true;
  #saving = false;
  /** The rows that this page has written: a row with the same value has not changed. */
  #written: ReadonlyMap<string, RowSource> = new Map();

  constructor(options: OfflineCacheOptions) {
    this.#options = options;
  }

  /** Undefined if there is no cache, or if the cache cannot be read. Never rejects. */
  async load(): Promise<Cached | undefined> {
    const { storage, key } = this.#options;
    if (storage === undefined) return undefined;
    try {
      const rows = await storage.read(key);
      return rows.size === 0 ? undefined : restore(rows);
    } catch (error) {
      this.#reportFailure("the cached state cannot be read; starting without it", error);
      await this.clear();
      return undefined;
    }
  }

  /**
   * Skipped while the write before is under way. Never rejects.
   * @param leaving another page may write from now on
   */
  async save(cached: Cached, leaving: boolean): Promise<void> {
    const { storage, key } = this.#options;
    if (storage === undefined || !this.#usable || this.#saving) return;
    this.#saving = true;
    try {
      await storage.update(key, HEAD, (head) => this.#changeOf(cached, leaving, head));
    } catch (error) {
      this.#usable = false;
      this.#reportFailure("the state is no longer cached for reloads", error);
      await this.clear();
    } finally {
      this.#saving = false;
    }
  }

  /** Never rejects. */
  async clear(): Promise<void> {
    try {
      await this.#options.storage?.clear(this.#options.key);
    } catch (error) {
      this.#reportFailure("the cached state cannot be removed", error);
    }
  }

  #changeOf({ state, cursor, asOf }: Cached, leaving: boolean, before: unknown): StorageChange | undefined {
    const now = Date.now();
    const continues = isHead(before) && before.writer === this.#writer;
    if (isHead(before) && !continues && Math.abs(now - before.savedAt) < OTHER_WRITER_MS) return undefined;
    const rows = new Map<string, RowSource>([...state.retained.owners(), ...state.latest]);
    const changes = new Map<string, unknown>();
    for (const [row, value] of rows) {
      if (!continues || this.#written.get(row) !== value) changes.set(row, eventsIn(value));
    }
    if (continues) for (const row of this.#written.keys()) if (!rows.has(row)) changes.set(row, undefined);
    this.#written = rows;
    const events = state.events.slice(0, MAX_CACHED_EVENTS);
    const gaps = placedGaps(state).slice(0, MAX_CACHED_EVENTS);
    const head: Head = { v: 2, cursor, asOf, events, gaps, writer: this.#writer, savedAt: leaving ? 0 : now };
    return { rows: changes.set(HEAD, head), replacesAll: !continues };
  }

  #reportFailure(message: string, detail: unknown): void {
    this.#options.report({ kind: "storage", message, detail });
  }
}

function eventsIn(source: RowSource): DashboardEvent[] {
  return source instanceof Map ? [...source.values()].map(({ event }) => event) : [source as DashboardEvent];
}

/** @throws {Error} the rows are not a cache of this version */
function restore(rows: ReadonlyMap<string, unknown>): Cached {
  const head = rows.get(HEAD);
  if (!isHead(head)) throw new Error("the row `head` is missing or invalid");
  const { cursor, asOf, events, gaps } = head;
  let state = mergeStates([...eventsByOwner(rows).values()].map(restoreOwner));
  for (const event of events.toReversed()) state = restoreEvent(state, event);
  for (const { newer, ...gap } of gaps.toReversed()) state = insertGap(state, gap, events[newer]);
  return { state: { ...state, newEvents: 0 }, cursor, asOf };
}

/** The events of all rows, by camera, service or other owner. @throws {Error} a row is invalid */
function eventsByOwner(rows: ReadonlyMap<string, unknown>): Map<string, DashboardEvent[]> {
  const owners = new Map<string, DashboardEvent[]>();
  for (const [name, row] of rows) {
    if (name === HEAD) continue;
    if (!isRow(row)) throw new Error(`the row ${name} is invalid`);
    const owner = row[0]?.camera ?? name;
    owners.set(owner, [...(owners.get(owner) ?? []), ...row]);
  }
  return owners;
}

/** Each owner by itself, because a change of a state copies the map of all cameras. */
function restoreOwner(events: readonly DashboardEvent[]): DashboardState {
  return events.reduce((state, event) => applyEvent(state, { ...event, snapshot: true }), EMPTY_STATE);
}

/** Restores only `events` and `activity`. */
function restoreEvent(state: DashboardState, event: DashboardEvent): DashboardState {
  const { events, activity } = applyEvent(state, event);
  return { ...state, events, activity };
}

function placedGaps({ activity, events }: DashboardState): PlacedGap[] {
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
