import { getMoonIllumination, getMoonPosition } from "suncalc";
import { type Location, sunPosition } from "../../../contract/schedule/sun.ts";
import type { Weather } from "../weather.ts";
import { Atmosphere, CAMERA_KM, hazePhase, type Light, type SkyLight } from "./atmosphere.ts";
import { directionOf, type Lens, type Vector } from "./lens.ts";
import { smoothstep } from "./noise.ts";

/** The full moon relative to the sun: five times the real value, in place of longer exposures. */
const MOON = 2e-5;
/** Airglow, starlight and the valleys' lamps: a night is never black. */
const NIGHT: Light = [0.6e-7, 0.95e-7, 1.65e-7];
/**
 * Dusk is light scattered many times. It decreases by a factor of ten for every three degrees of the sun below the
 * horizon (measured: 400 lx at sunset, 3.4 lx at −6°, 0.008 lx at −12°).
 */
const DUSK = { atSunset: -1.95, perDegree: 0.335, colour: [0.24, 0.48, 1] } as const;

export type Lighting = ReturnType<typeof lightingAt>;
type Lights = Pick<Lighting, "atmosphere" | "sun" | "moon" | "moonFraction">;

/** Samples of the ambient light: sines of elevations, and azimuths for each. */
const AMBIENT_UPS = [0.125, 0.375, 0.625, 0.875];
const AMBIENT_TURNS = 6;

export function lightingAt(at: Date, location: Location, lens: Lens, weather: Weather) {
  const sun = directionOf(lens, sunPosition(at, location));
  const moonAt = getMoonPosition(at, location.lat, location.lon);
  const moon = directionOf(lens, { azimuth: moonAt.azimuth, elevation: moonAt.altitude });
  const moonFraction = getMoonIllumination(at).fraction;
  const atmosphere = new Atmosphere(0.0025 + 0.011 * weather.humidity ** 3);
  /** Share of clear sky, 0 to 1. */
  const clear = 1 - 0.82 * smoothstep(0.62, 0.97, weather.cloud);

  const sunlight = atmosphere.transmitted(CAMERA_KM + 1.2, sun.y);
  const moonlight = scale(atmosphere.transmitted(CAMERA_KM + 1.2, moon.y), MOON * moonFraction ** 1.4);
  const bySun = brightness(sunlight) >= brightness(moonlight);
  const lights = { atmosphere, sun, moon, moonFraction };
  const ambient: Light = [0, 0, 0];
  for (const up of AMBIENT_UPS) {
    for (let turn = 0; turn < AMBIENT_TURNS; turn++) {
      const angle = (turn / AMBIENT_TURNS) * 2 * Math.PI;
      const flat = Math.sqrt(1 - up * up);
      const direction = { x: Math.sin(angle) * flat, y: up, z: Math.cos(angle) * flat };
      const { air, haze } = skyLight(lights, direction);
      const phase = hazePhase(cosine(direction, sun));
      const weight = (2 * Math.PI * up) / (AMBIENT_UPS.length * AMBIENT_TURNS);
      for (let band = 0; band < 3; band++)
        ambient[band] = (ambient[band] ?? 0) + weight * ((air[band] ?? 0) + phase * (haze[band] ?? 0));
    }
  }
  // Clouds turn sunlight into diffuse, whiter light.
  const grey = (1 - clear) * 0.2 * Math.max(0, bySun ? sun.y : 0);
  const light = bySun ? sunlight : moonlight;
  for (let band = 0; band < 3; band++) ambient[band] = (ambient[band] ?? 0) + grey * (light[band] ?? 0);
  /** The brighter of sun and moon, and its light at the summits. It casts the shadows. */
  const key = { direction: bySun ? sun : moon, light: scale(light, clear * clear) };
  return { ...lights, key, ambient, clear, hours: at.getTime() / 3_600_000, weather };
}

export function skyLight({ atmosphere, sun, moon, moonFraction }: Lights, direction: Vector): SkyLight {
  const { air, haze } = atmosphere.sky(direction.y, cosine(direction, sun), sun.y);
  const byMoon = atmosphere.sky(direction.y, cosine(direction, moon), moon.y);
  const share = moonFraction === 0 ? 0 : MOON * moonFraction ** 1.4;
  const phase = hazePhase(cosine(direction, moon));
  const dusk = duskAt(sun) * (1.25 - 0.6 * direction.y);
  // Far below the horizon, single scattering of sunlight would be too bright and too red.
  const once = 10 ** (0.27 * Math.min(0, degreesUp(sun) + 1.5));
  for (let band = 0; band < 3; band++) {
    air[band] = (air[band] ?? 0) * once + dusk * (DUSK.colour[band] ?? 0);
    const more = share * ((byMoon.air[band] ?? 0) + phase * (byMoon.haze[band] ?? 0));
    air[band] = (air[band] ?? 0) + more + (NIGHT[band] ?? 0);
    haze[band] = (haze[band] ?? 0) * once;
  }
  return { air, haze };
}

function duskAt(sun: Vector): number {
  return 10 ** (DUSK.atSunset + DUSK.perDegree * Math.min(0, degreesUp(sun))) / Math.PI;
}

function degreesUp({ y }: Vector): number {
  return (Math.asin(Math.max(-1, Math.min(1, y))) * 180) / Math.PI;
}

export function cosine(a: Vector, b: Vector): number {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}

export function brightness([red, green, blue]: Light): number {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function scale([red, green, blue]: Light, factor: number): Light {
  return [red * factor, green * factor, blue * factor];
}
