import type { Environment, Power, Resources, Storage } from "../../contract/events.ts";

export interface StateReadings {
  environment: Environment;
  storage: Storage;
  power: Power;
  resources: Resources;
}

export const DEFAULT_READINGS_MAX_AGE_S = 1800;

/**
 * The least change of a number that is published. A message uses about 500 bytes of a camera's SIM, with TCP/IP and
 * acknowledgement: three a minute were 65 MB a month. Every change of other numbers is published.
 */
const DEADBANDS: Readonly<Record<string, number>> = {
  // The sun moves by 15° an hour.
  sun_elevation: 2.5,
  sun_azimuth: 10,
  humidity_percent: 5,
  cloud_percent: 10,
  wind_ms: 2,
  temperature_c: 2,
  battery_percent: 2,
  // Large, because every picture loads the processor of a small computer.
  cpu_percent: 25,
  memory_bytes: 32 * 1024 * 1024,
};
const DISK_SHARE = 0.01;
/** Times are computed for each reading, and differ by rounding. */
const TIME_DEADBAND_MS = 300_000;

/**
 * Selects the readings to publish: those that have changed by at least their deadband, and those published long ago.
 */
export class DeadbandFilter {
  readonly #maxAgeMs: number;
  readonly #now: () => number;
  readonly #published = new Map<keyof StateReadings, { at: number; reading: object }>();

  /** @param now monotonic milliseconds. Default: `performance.now()` */
  constructor(maxAgeMs: number, now: () => number = () => performance.now()) {
    this.#maxAgeMs = maxAgeMs;
    this.#now = now;
  }

  /** Whether to publish the reading, which is then recorded as published. */
  passes<Name extends keyof StateReadings>(name: Name, reading: StateReadings[Name]): boolean {
    const last = this.#published.get(name);
    const at = this.#now();
    if (last !== undefined && at - last.at < this.#maxAgeMs && !differs(last.reading, reading)) return false;
    this.#published.set(name, { at, reading });
    return true;
  }

  clear(): void {
    this.#published.clear();
  }
}

function differs(before: object, now: object): boolean {
  const [old, current] = [new Map(Object.entries(before)), new Map(Object.entries(now))];
  if (old.size !== current.size) return true;
  for (const [field, value] of current) if (fieldDiffers(field, old.get(field), value, current)) return true;
  return false;
}

function fieldDiffers(field: string, before: unknown, now: unknown, reading: ReadonlyMap<string, unknown>): boolean {
  if (typeof before === "number" && typeof now === "number")
    return Math.abs(now - before) >= deadbandOf(field, reading);
  if (typeof before === "string" && typeof now === "string" && field.startsWith("next_"))
    return Math.abs(Date.parse(now) - Date.parse(before)) > TIME_DEADBAND_MS;
  return before !== now;
}

function deadbandOf(field: string, reading: ReadonlyMap<string, unknown>): number {
  const total = reading.get("total_bytes");
  if (field === "free_bytes" && typeof total === "number") return total * DISK_SHARE;
  return DEADBANDS[field] ?? Number.MIN_VALUE;
}
