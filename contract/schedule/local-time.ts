const DAY_MS = 86_400_000;
const MINUTES_A_DAY = 1440;

export interface LocalDate {
  year: number;
  month: number;
  day: number;
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** How far the zone's clocks are ahead of UTC. */
function zoneOffsetMs(at: number, timezone: string): number {
  const part = (type: Intl.DateTimeFormatPartTypes): number =>
    Number(parts.find((candidate) => candidate.type === type)?.value);
  const parts = formatOf(timezone).formatToParts(at);
  const shown = Date.UTC(part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second"));
  return shown - Math.floor(at / 1000) * 1000;
}

export function localDateOf(at: Date, timezone: string): LocalDate {
  const shown = new Date(at.getTime() + zoneOffsetMs(at.getTime(), timezone));
  return { year: shown.getUTCFullYear(), month: shown.getUTCMonth() + 1, day: shown.getUTCDate() };
}

/** The day of a moment, from midnight to midnight by the zone's clocks: 23 to 25 hours. */
export function localDay(at: Date, timezone: string): Range {
  const ranges = momentsShowing(localDateOf(at, timezone), 0, MINUTES_A_DAY, timezone);
  return { start: ranges[0]?.start ?? at, end: ranges.at(-1)?.end ?? at };
}

/** 1 = Monday, as in ISO 8601. */
export function dayOfWeek({ year, month, day }: LocalDate): number {
  return new Date(Date.UTC(year, month - 1, day)).getUTCDay() || 7;
}

export function addDays({ year, month, day }: LocalDate, days: number): LocalDate {
  const sum = new Date(Date.UTC(year, month - 1, day + days));
  return { year: sum.getUTCFullYear(), month: sum.getUTCMonth() + 1, day: sum.getUTCDate() };
}

export interface Range {
  start: Date;
  /** Exclusive. */
  end: Date;
}

/**
 * The ranges in which clocks show a time of a date from `startMinutes` (inclusive) to `endMinutes` (exclusive). When
 * clocks are set back, they show some times twice, and there are two ranges. When clocks are set forward, they skip
 * some times, and there may be no range.
 * @param startMinutes counted from the date's midnight
 * @param endMinutes counted from the same midnight; times above 1,440 are on the next day
 */
export function momentsShowing(date: LocalDate, startMinutes: number, endMinutes: number, timezone: string): Range[] {
  const shownStart = Date.UTC(date.year, date.month - 1, date.day, 0, startMinutes);
  const shownEnd = Date.UTC(date.year, date.month - 1, date.day, 0, endMinutes);
  // The offset changes at most once between these times: no zone changes its offset twice within so few days.
  const from = shownStart - DAY_MS;
  const to = shownEnd + DAY_MS;
  const before = zoneOffsetMs(from, timezone);
  const after = zoneOffsetMs(to, timezone);
  const change = before === after ? Number.POSITIVE_INFINITY : changeOfOffset(from, to, timezone);
  const ranges = [
    { start: shownStart - before, end: Math.min(shownEnd - before, change) },
    { start: Math.max(shownStart - after, change), end: shownEnd - after },
  ].filter(({ start, end }) => start < end);
  const [first, second] = ranges;
  if (first !== undefined && second !== undefined && first.end >= second.start)
    return [{ start: new Date(first.start), end: new Date(second.end) }];
  return ranges.map(({ start, end }) => ({ start: new Date(start), end: new Date(end) }));
}

function changeOfOffset(from: number, to: number, timezone: string): number {
  const old = zoneOffsetMs(from, timezone);
  let low = from;
  let high = to;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (zoneOffsetMs(middle, timezone) === old) low = middle;
    else high = middle;
  }
  return high;
}

function formatOf(timezone: string): Intl.DateTimeFormat {
  let format = formats.get(timezone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: timezone,
      hourCycle: "h23",
      ...{ year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" },
    });
    formats.set(timezone, format);
  }
  return format;
}
