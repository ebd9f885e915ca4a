import { type Location, sunPosition } from "../../contract/schedule/sun.ts";
import { smoothNoise } from "./scene/noise.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A camera at 1,800 m is colder than the sea level: 6.5 °C per 1,000 m. */
const LAPSE_C = 6.5 * 1.8;

export type Weather = ReturnType<typeof weatherAt>;

/**
 * Weather that changes over hours, differs between mountains, and is the same for the same moment. Humidity and the
 * cloudy share of the sky are from 0 to 1, the wind is in metres per second.
 */
export function weatherAt(at: Date, location: Location, seed: number) {
  const hours = at.getTime() / HOUR_MS;
  const slow = (channel: number, periodH: number): number => smoothNoise(hours / periodH, seed + channel);
  // Mostly fair, with some overcast periods.
  const cloud = clamp(0.32 + 0.42 * slow(1, 9) + 0.22 * slow(2, 2.3));
  const { elevation } = sunPosition(at, location);
  const yearly = Math.cos((2 * Math.PI * (at.getTime() / DAY_MS - 200)) / 365.25) * Math.sign(location.lat || 1);
  const sea = 28 - 0.42 * Math.abs(location.lat) + yearly * Math.min(14, 0.28 * Math.abs(location.lat));
  const daily = 5 * Math.sin((Math.PI / 180) * Math.max(-30, Math.min(60, elevation))) * (1 - 0.5 * cloud);
  const temperatureC = sea - LAPSE_C + daily + 3 * slow(3, 30);
  const humidity = clamp(0.58 + 0.25 * (cloud - 0.3) - 0.02 * daily + 0.16 * slow(4, 6));
  const windMs = Math.max(0.2, 4 + 3.2 * slow(5, 5) + 1.6 * slow(6, 0.7));
  return { temperatureC, humidity, cloud, windMs };
}

function clamp(value: number): number {
  return Math.max(0.02, Math.min(0.98, value));
}
