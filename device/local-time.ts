const DAY_MS = 86_400_000;

/** A day in a calendar, whoever's. */
export interface LocalDate {
  year: number;
  month: number;
  day: number;
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Milliseconds that a time zone's clocks are ahead of UTC at a moment. */
export function zoneOffsetMs(at: number, timezone: string): number {
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

/** ISO day of the week, 1 = Monday. */
export function dayOfWeek({ year, month, day }: LocalDate): number {
  return new Date(Date.UTC(year, month - 1, day)).getUTCDay() || 7;
}

export function addDays({ year, month, day }: LocalDate, days: number): LocalDate {
  const sum = new Date(Date.UTC(year, month - 1, day + days));
  return { year: sum.getUTCFullYear(), month: sum.getUTCMonth() + 1, day: sum.getUTCDate() };
}

/**
 * The moment at which clocks in a time zone show a time of day. A time that clocks skip in spring is the moment of the
 * skip; of a time that they show twice in autumn, `which` chooses the first or the last.
 *
 * @param minutes since midnight
 */
export function momentOf(date: LocalDate, minutes: number, timezone: string, which: "first" | "last"): Date {
  const shown = Date.UTC(date.year, date.month - 1, date.day, 0, minutes);
  // No zone changes its clocks twice within two days, so these are the offsets before and after whatever happens.
  const before = zoneOffsetMs(shown - DAY_MS, timezone);
  const after = zoneOffsetMs(shown + DAY_MS, timezone);
  const candidates = [shown - before, shown - after].filter((at) => at + zoneOffsetMs(at, timezone) === shown);
  if (candidates.length > 0) return new Date(which === "first" ? Math.min(...candidates) : Math.max(...candidates));
  return new Date(changeOfOffset(shown - Math.max(before, after), shown - Math.min(before, after), timezone));
}

/** The first moment of the new offset, by halving. */
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
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    formats.set(timezone, format);
  }
  return format;
}
