import { getPosition, getTimes } from "suncalc";

/** Where a camera stands. */
export interface Location {
  /** Degrees, north positive. */
  lat: number;
  /** Degrees, east positive. */
  lon: number;
  /** IANA name, such as `Europe/Zurich`. */
  timezone: string;
}

export interface SunPosition {
  /** Degrees above the horizon, refraction included. */
  elevation: number;
  /** Degrees clockwise from north. */
  azimuth: number;
}

const DAY_MS = 86_400_000;

export function sunPosition(at: Date, { lat, lon }: Location): SunPosition {
  const { altitude, azimuth } = getPosition(at, lat, lon);
  return { elevation: altitude, azimuth };
}

/** The moments of one solar day at which something begins. Absent where the sun does not reach that height. */
export interface SolarDay {
  sunrise: Date[];
  sunset: Date[];
  /** The sun between −6° and 6°: it begins at −6° in the morning and at 6° in the evening. */
  golden_hour: Date[];
  /** The sun between −12° and −6°: it begins at −12° in the morning and at −6° in the evening. */
  blue_hour: Date[];
}

/** @param at any moment; the solar day nearest to its UTC date is meant */
export function solarDay(at: Date, { lat, lon }: Location): SolarDay {
  const times = getTimes(at, lat, lon);
  return {
    sunrise: present(times.sunrise),
    sunset: present(times.sunset),
    golden_hour: present(times.dawn, times.goldenHour),
    blue_hour: present(times.nauticalDawn, times.dusk),
  };
}

/** When the next golden hour begins, or undefined when none does within a year (at the poles). */
export function nextGoldenHour(at: Date, location: Location): Date | undefined {
  for (let day = -1; day <= 366; day++) {
    const { golden_hour } = solarDay(new Date(at.getTime() + day * DAY_MS), location);
    const next = golden_hour.filter((moment) => moment > at).sort((a, b) => a.getTime() - b.getTime())[0];
    if (next !== undefined) return next;
  }
  return undefined;
}

function present(...moments: (Date | null)[]): Date[] {
  return moments.filter((moment) => moment !== null);
}
