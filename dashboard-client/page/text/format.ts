import { currentLanguage, currentLocale, t } from "./i18n.ts";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** Decimal units, as disk manufacturers use them: `38.2 GB`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes) || bytes < 0) return "–";
  let value = bytes;
  let unit = 0;
  // 999.95 kB would round to "1000.0 kB".
  while (unit < UNITS.length - 1 && Number(value.toFixed(unit === 0 ? 0 : 1)) >= 1000) {
    value /= 1000;
    unit++;
  }
  return `${formatNumber(value, unit === 0 ? 0 : 1)} ${UNITS[unit]}`;
}

/**
 * A number by the rules of the language: `1,234.5`, in German `1.234,5`, with a true minus sign.
 * @param decimals the number of decimal places
 */
export function formatNumber(value: number, decimals = 0): string {
  const locale = currentLocale();
  const key = `${locale} ${decimals}`;
  let format = numberFormats.get(key);
  if (format === undefined) {
    // `toLocaleString` makes one for each number, which takes as long as to render the number.
    format = new Intl.NumberFormat(locale, { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    numberFormats.set(key, format);
  }
  return format.format(value).replace("-", "−");
}

const numberFormats = new Map<string, Intl.NumberFormat>();

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** `8 s`, `3 min`, `2 h 05 min`, `4 days`. A negative duration is `0 s`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, durationMs);
  if (ms < MINUTE) return t("time.seconds", { count: Math.floor(ms / SECOND) });
  if (ms < HOUR) return t("time.minutes", { count: Math.floor(ms / MINUTE) });
  if (ms < 2 * DAY) {
    const minutes = Math.floor((ms % HOUR) / MINUTE);
    return t("time.hours", { count: Math.floor(ms / HOUR), minutes: String(minutes).padStart(2, "0") });
  }
  return t("time.days", { count: Math.floor(ms / DAY) });
}

/** For example `3 min ago`. A time less than a minute ahead is "just now", because clocks differ a little. */
export function formatAge(at: string | number, now: number): string {
  const ageMs = now - momentOf(at);
  if (Number.isNaN(ageMs)) return t("time.unknownAge");
  if (ageMs < -MINUTE) return t("time.inFuture", { duration: formatDuration(-ageMs) });
  return ageMs < 3 * SECOND ? t("time.justNow") : t("time.ago", { duration: formatDuration(ageMs) });
}

const formats = new Map<string, Intl.DateTimeFormat>();

/**
 * For example `14:02:31 CET`, or `12 Mar, 14:02:31 CET` on another day.
 * @param timeZone an IANA name; unknown: UTC
 */
export function formatTime(at: string | number, timeZone: string | undefined, now: number): string {
  const moment = momentOf(at);
  if (Number.isNaN(moment)) return t("time.unknown");
  return format(isSameDay(moment, now, timeZone) ? "time" : "date", timeZone).format(moment);
}

/** The day of a heading: `Thursday, 12 March 2026`. */
export function formatDay(at: string | number, timeZone: string | undefined): string {
  const moment = momentOf(at);
  return Number.isNaN(moment) ? t("time.unknown") : format("heading", timeZone).format(moment);
}

/** Like {@link formatTime}, without seconds: `14:02 CET`. */
export function formatMinute(at: string | number, timeZone: string | undefined, now: number): string {
  const moment = momentOf(at);
  if (Number.isNaN(moment)) return t("time.unknown");
  return format(isSameDay(moment, now, timeZone) ? "minute" : "dateMinute", timeZone).format(moment);
}

/** A period without seconds: `03:10–03:25 CET`, or `12 Mar, 03:10–03:25 CET` on another day. */
export function formatSpan(from: string, to: string, timeZone: string | undefined, now: number): string {
  const [begin, end] = [momentOf(from), momentOf(to)];
  if (Number.isNaN(begin) || Number.isNaN(end)) return t("time.unknown");
  const [first, last] = [formatMinute(begin, timeZone, now), formatMinute(end, timeZone, now)];
  if (first === last) return first;
  if (isSameDay(begin, end, timeZone))
    return `${withoutZone(begin, timeZone, now)}–${format("minute", timeZone).format(end)}`;
  return `${withoutZone(begin, timeZone, now)} – ${last}`;
}

function withoutZone(moment: number, timeZone: string | undefined, now: number): string {
  return format(isSameDay(moment, now, timeZone) ? "minute" : "dateMinute", timeZone)
    .formatToParts(moment)
    .filter(({ type }) => type !== "timeZoneName")
    .map(({ value }) => value)
    .join("")
    .trim();
}

function isSameDay(one: number, other: number, timeZone: string | undefined): boolean {
  const day = format("day", timeZone);
  return day.format(one) === day.format(other);
}

const MINUTES = { hour: "2-digit", minute: "2-digit", timeZoneName: "short" } as const;
const DATE = { day: "numeric", month: "short" } as const;
const SHAPES = {
  day: { year: "numeric", month: "2-digit", day: "2-digit" },
  heading: { weekday: "long", day: "numeric", month: "long", year: "numeric" },
  time: { ...MINUTES, second: "2-digit" },
  minute: MINUTES,
  dateMinute: { ...DATE, ...MINUTES },
  date: { ...DATE, ...MINUTES, second: "2-digit" },
} satisfies Record<string, Intl.DateTimeFormatOptions>;

function format(shape: keyof typeof SHAPES, timeZone = localZone()): Intl.DateTimeFormat {
  const locale = currentLocale();
  const key = `${locale} ${shape} ${timeZone}`;
  const known = formats.get(key);
  if (known !== undefined) return known;
  let created: Intl.DateTimeFormat;
  try {
    created = new Intl.DateTimeFormat(locale, { ...SHAPES[shape], timeZone });
  } catch {
    created = new Intl.DateTimeFormat(locale, { ...SHAPES[shape], timeZone: "UTC" });
  }
  // Limited, because cameras choose the names of the time zones.
  if (formats.size > 1000) formats.clear();
  formats.set(key, created);
  return created;
}

/** Asking for the zone takes 0.1 ms: as much as to render a camera. */
const ZONE_KEPT_MS = 60_000;
let zone = "";
let zoneKeptUntil = 0;

function localZone(): string {
  // Somebody who travels gets another zone.
  if (performance.now() < zoneKeptUntil) return zone;
  zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  zoneKeptUntil = performance.now() + ZONE_KEPT_MS;
  return zone;
}

function momentOf(at: string | number): number {
  return typeof at === "number" ? at : Date.parse(at);
}

/** `24 ms`, `1.2 s`. */
export function formatLatency(latencyMs: number): string {
  return latencyMs < 1000 ? `${Math.max(1, Math.round(latencyMs))} ms` : `${formatNumber(latencyMs / 1000, 1)} s`;
}

/** A shutter time as photographers write it: `1/250 s`, `0.5 s`, `2 s`. */
export function formatExposure(seconds: number): string {
  if (seconds >= 0.3) return `${formatNumber(seconds, Number.isInteger(Number(seconds.toFixed(1))) ? 0 : 1)} s`;
  return `1/${Math.round(1 / seconds)} s`;
}

const WINDS = ["N", "NE", "E", "SE", "S", "SW", "W", "NW"];

/** `143° SE`, from degrees clockwise from north. */
export function formatAzimuth(degrees: number): string {
  const whole = ((Math.round(degrees) % 360) + 360) % 360;
  return `${whole}° ${WINDS[Math.round(whole / 45) % 8]}`;
}

/** In the middle of an English text, a title begins with a small letter. German nouns keep their capital letter. */
export function lowerFirst(title: string): string {
  return currentLanguage() === "en" ? title.charAt(0).toLowerCase() + title.slice(1) : title;
}
