import { getPosition, getTimes } from "suncalc";

/** Degrees, north and east positive. */
export interface Location {
  lat: number;
  lon: number;
  /** IANA name, such as `Europe/Zurich`. */
  timezone: string;
}

const DAY_MS = 86_400_000;

/** Degrees above the horizon with refraction, and degrees clockwise from north. */
export function sunPosition(at: Date, { lat, lon }: Location): { elevation: number; azimuth: number } {
  const { altitude, azimuth } = getPosition(at, lat, lon);
  return { elevation: altitude, azimuth };
}

export type SolarDay = ReturnType<typeof solarDay>;

/** The sun's times on the solar day nearest to the UTC date of `at`; undefined when the sun does not reach the height. */
export function solarDay(at: Date, { lat, lon }: Location) {
  const times = getTimes(at, lat, lon);
  return {
    sunrise: times.sunrise ?? undefined,
    sunset: times.sunset ?? undefined,
    /** Starts when the sun is at −6° in the morning, and at 6° in the evening. */
    golden_hour: { morning: times.dawn ?? undefined, evening: times.goldenHour ?? undefined },
    /** Starts when the sun is at −12° in the morning, and at −6° in the evening. */
    blue_hour: { morning: times.nauticalDawn ?? undefined, evening: times.dusk ?? undefined },
  };
}

/** Undefined when there is none within a year, as at the poles. */
export function nextGoldenHour(at: Date, location: Location): Date | undefined {
  for (let day = -1; day <= 366; day++) {
    const { morning, evening } = solarDay(new Date(at.getTime() + day * DAY_MS), location).golden_hour;
    const next = [morning, evening]
      .filter((moment) => moment !== undefined && moment > at)
      .sort((a, b) => Number(a) - Number(b))[0];
    if (next !== undefined) return next;
  }
  return undefined;
}
