import type { Schedule } from "../commands.ts";
import { addDays, dayOfWeek, localDateOf, momentsShowing, type Range } from "./local-time.ts";
import { type Location, type SolarDay, solarDay } from "./sun.ts";

type Entry = Schedule["entries"][number];

export interface Window extends Range {
  intervalS: number;
}

const DAY_MS = 86_400_000;
const MINUTES_A_DAY = 1440;
/** A window starts up to half a day before its anchor, and ends up to a day and a half after it. */
const DAYS_BEFORE = 2;
/**
 * The days whose windows are considered. They reach more than a week ahead, so that even an entry for one day of the
 * week has a next window.
 */
const DAYS = Array.from({ length: DAYS_BEFORE + 1 + 8 }, (_, index) => index - DAYS_BEFORE);

export function everyDay(intervalS: number): Schedule {
  return { entries: [{ kind: "clock", start: "00:00", end: "00:00", interval_s: intervalS }] };
}

/**
 * The windows around a moment, ordered by start. A clock entry belongs to the day on which it starts: 22:00 to 04:00
 * ends on the next day, and an equal start and end mean 24 hours. A window in the hour that clocks show twice in autumn
 * opens twice.
 */
export function windowsAround(schedule: Schedule, location: Location, at: Date): Window[] {
  return schedule.entries
    .flatMap((entry) =>
      entry.kind === "clock" ? clockWindows(entry, location, at) : solarWindows(entry, location, at),
    )
    .filter((window) => window.start < window.end)
    .sort((a, b) => a.start.getTime() - b.start.getTime());
}

export function activeInterval(windows: readonly Window[], at: Date): number | undefined {
  const active = windows.filter((window) => window.start <= at && at < window.end);
  return active.length === 0 ? undefined : Math.min(...active.map((window) => window.intervalS));
}

/**
 * The time of the next picture after `after`. Pictures are taken when a window opens, and at whole multiples of the
 * interval: slow captures and restarts cause no drift.
 * @param phaseMs shifts the multiples, so that cameras of a site do not all take pictures at once. Default 0
 */
export function nextCapture(windows: readonly Window[], after: Date, phaseMs = 0): Date | undefined {
  let from = after.getTime() + 1;
  for (let iteration = 0; iteration <= 2 * windows.length; iteration++) {
    const moment = from;
    const active = windows.filter(({ start, end }) => start.getTime() <= moment && moment < end.getTime());
    const opening = Math.min(...windows.map(({ start }) => start.getTime()).filter((start) => start >= moment));
    if (active.length === 0) return Number.isFinite(opening) ? new Date(opening) : undefined;
    const intervalS = Math.min(...active.map((window) => window.intervalS));
    const closing = Math.max(...active.filter((w) => w.intervalS === intervalS).map(({ end }) => end.getTime()));
    const intervalMs = intervalS * 1000;
    const candidate = Math.ceil((moment - phaseMs) / intervalMs) * intervalMs + phaseMs;
    if (candidate < Math.min(opening, closing)) return new Date(candidate);
    if (opening <= closing) return new Date(opening);
    from = closing;
  }
  return undefined;
}

/** The next pictures after `after`, in order. At most `count`; fewer when no more are planned within a week. */
export function nextCaptures(windows: readonly Window[], after: Date, count: number, phaseMs = 0): Date[] {
  const found: Date[] = [];
  for (let last = after; found.length < count; ) {
    const next = nextCapture(windows, last, phaseMs);
    if (next === undefined) break;
    found.push(next);
    last = next;
  }
  return found;
}

/**
 * The number of pictures that {@link nextCapture} plans in `[from, to)`. Counted per range between two edges of windows,
 * because one picture a second is 86,400 pictures a day.
 */
export function countCaptures(windows: readonly Window[], { start: from, end: to }: Range, phaseMs = 0): number {
  const edges = windows.flatMap(({ start, end }) => [start.getTime(), end.getTime()]);
  const inside = edges.filter((edge) => edge > from.getTime() && edge < to.getTime());
  const starts = [...new Set([from.getTime(), ...inside])].sort((a, b) => a - b);
  let count = 0;
  for (const [index, start] of starts.entries()) {
    const intervalS = activeInterval(windows, new Date(start));
    if (intervalS === undefined) continue;
    const before = (time: number): number => Math.ceil((time - phaseMs) / (intervalS * 1000));
    count += before(starts[index + 1] ?? to.getTime()) - before(start);
    const opens = windows.some((window) => window.start.getTime() === start);
    if (opens && before(start) * intervalS * 1000 + phaseMs !== start) count++;
  }
  return count;
}

/** The phase of a camera's pictures, so that the cameras of a site do not all take pictures at once. Milliseconds. */
export function capturePhaseMs(camera: string): number {
  let hash = 0;
  for (const character of camera) hash = (hash * 31 + character.charCodeAt(0)) % 3_600_000;
  return hash;
}

function clockWindows(entry: Extract<Entry, { kind: "clock" }>, { timezone }: Location, at: Date): Window[] {
  const today = localDateOf(at, timezone);
  const start = minutesOf(entry.start);
  const end = minutesOf(entry.end);
  // A window whose end is not after its start ends on the next day.
  const until = end <= start ? end + MINUTES_A_DAY : end;
  return DAYS.map((day) => addDays(today, day))
    .filter((date) => entry.days === undefined || entry.days.includes(dayOfWeek(date)))
    .flatMap((date) => momentsShowing(date, start, until, timezone))
    .map((range) => ({ ...range, intervalS: entry.interval_s }));
}

function solarWindows(entry: Extract<Entry, { kind: "solar" }>, location: Location, at: Date): Window[] {
  return DAYS.flatMap((day) => anchorsOf(entry, solarDay(new Date(at.getTime() + day * DAY_MS), location))).map(
    (anchor) => {
      const start = anchor.getTime() + entry.offset_min * 60_000;
      const end = start + entry.duration_min * 60_000;
      return { start: new Date(start), end: new Date(end), intervalS: entry.interval_s };
    },
  );
}

/** The anchors of an entry on a day; none when the sun does not reach the phase's height. */
function anchorsOf({ anchor, when }: Extract<Entry, { kind: "solar" }>, day: SolarDay): Date[] {
  const moments: (Date | undefined)[] = [];
  if (anchor === "sunrise" || anchor === "sunset") moments.push(day[anchor]);
  else {
    if (when !== "evening") moments.push(day[anchor].morning);
    if (when !== "morning") moments.push(day[anchor].evening);
  }
  return moments.filter((moment) => moment !== undefined);
}

function minutesOf(clock: string): number {
  const [hours = 0, minutes = 0] = clock.split(":").map(Number);
  return hours * 60 + minutes;
}
