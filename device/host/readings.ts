import type { Environment, Power, Resources, Storage } from "../../contract/events.ts";

/** What a camera measures, by the name of its state. */
export interface StateReadings {
  environment: Environment;
  storage: Storage;
  power: Power;
  resources: Resources;
}

/** Seconds after which a reading is said again though nothing changed. */
export const DEFAULT_READINGS_MAX_AGE_S = 1800;

/**
 * By how much a number must differ from the one said last to be news. A camera's SIM pays for each message (about 500
 * bytes with TCP/IP and its acknowledgement: three a minute were 65 MB a month). A field without a number is news
 * whenever it changes.
 */
const DEAD_BANDS: Readonly<Record<string, number>> = {
  // The sun moves by 15° an hour.
  sun_elevation: 2.5,
  sun_azimuth: 10,
  humidity_percent: 5,
  cloud_percent: 10,
  wind_ms: 2,
  temperature_c: 2,
  battery_percent: 2,
  // Every picture is work for a small computer.
  cpu_percent: 25,
  memory_bytes: 32 * 1024 * 1024,
};
/** The share of a disk that is news. */
const DISK_SHARE = 0.01;
/** Times are worked out anew for each reading, and differ by rounding. Milliseconds. */
const TIME_BAND_MS = 300_000;

interface Said {
  /** By a clock that nobody sets, milliseconds. */
  at: number;
  reading: object;
}

/** Tells readings that are worth a message from those that say what was said before. */
export class ReadingsFilter {
  readonly #maxAgeMs: number;
  readonly #now: () => number;
  readonly #said = new Map<keyof StateReadings, Said>();

  /** @param now milliseconds. Default: a clock that nobody sets */
  constructor(maxAgeMs: number, now: () => number = () => performance.now()) {
    this.#maxAgeMs = maxAgeMs;
    this.#now = now;
  }

  /** True when the reading changed enough or the last one is old; then it counts as said. */
  isNews<Name extends keyof StateReadings>(name: Name, reading: StateReadings[Name]): boolean {
    const said = this.#said.get(name);
    const at = this.#now();
    if (said !== undefined && at - said.at < this.#maxAgeMs && !differs(said.reading, reading)) return false;
    this.#said.set(name, { at, reading });
    return true;
  }

  /** Everything is news again: whoever listens may have lost it. */
  clear(): void {
    this.#said.clear();
  }
}

function differs(before: object, now: object): boolean {
  const [old, young] = [new Map(Object.entries(before)), new Map(Object.entries(now))];
  if (old.size !== young.size) return true;
  for (const [field, value] of young) if (fieldDiffers(field, old.get(field), value, young)) return true;
  return false;
}

function fieldDiffers(field: string, before: unknown, now: unknown, reading: ReadonlyMap<string, unknown>): boolean {
  if (typeof before === "number" && typeof now === "number") return Math.abs(now - before) >= bandOf(field, reading);
  if (typeof before === "string" && typeof now === "string" && field.startsWith("next_"))
    return Math.abs(Date.parse(now) - Date.parse(before)) > TIME_BAND_MS;
  return before !== now;
}

function bandOf(field: string, reading: ReadonlyMap<string, unknown>): number {
  const total = reading.get("total_bytes");
  if (field === "free_bytes" && typeof total === "number") return total * DISK_SHARE;
  // An unknown number is news whenever it changes.
  return DEAD_BANDS[field] ?? Number.MIN_VALUE;
}
