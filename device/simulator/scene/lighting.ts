import { getMoonIllumination, getMoonPosition } from "suncalc";
import { type Location, sunPosition } from "../../capture/sun.ts";
import type { Weather } from "../weather.ts";
import { Atmosphere, CAMERA_KM, hazePhase, type Light } from "./atmosphere.ts";
import { directionOf, type Lens, type Vector } from "./lens.ts";
import { smoothstep } from "./noise.ts";

/** A full moon against the sun. The real one has a fifth of it; a sensor on the mountain would gain the rest. */
const MOON = 2e-5;
/** What the air glows by itself, and light of stars and valleys: a night is never black. */
const NIGHT: Light = [0.6e-7, 0.95e-7, 1.65e-7];
/**
 * Dusk is light that was scattered many times. What level ground gets of it falls by a power of ten for every three
 * degrees of the sun's depth (measured illuminances: 400 lx at sunset, 3.4 lx at −6°, 0.008 lx at −12°).
 */
const DUSK = { atSunset: -1.95, perDegree: 0.335, colour: [0.24, 0.48, 1] } as const;

/** Where the light of a moment comes from, and the air that it comes through. */
export interface Lights {
  atmosphere: Atmosphere;
  sun: Vector;
  moon: Vector;
  /** 0 to 1. */
  moonFraction: number;
}

/** Every light of one moment. */
export interface Lighting extends Lights {
  /** The brighter of the two, and what of it arrives at the summits: it casts the shadows. */
  key: { direction: Vector; light: Light };
  /** What the whole sky gives to level ground. */
  ambient: Light;
  /** What is left of blue sky between grey clouds, 0 to 1: below a closed layer there is no sun and no shadow. */
  clear: number;
  /** The moment, hours since 1970: what drifts drifts by it. */
  hours: number;
  weather: Weather;
}

/** The directions in which the sky is sampled: sines of the elevation, spread evenly, and turns of the compass. */
const AMBIENT_UPS = [0.125, 0.375, 0.625, 0.875];
const AMBIENT_TURNS = 6;

export function lightingAt(at: Date, location: Location, lens: Lens, weather: Weather): Lighting {
  const sun = directionOf(lens, sunPosition(at, location));
  const moonAt = getMoonPosition(at, location.lat, location.lon);
  const moon = directionOf(lens, { azimuth: moonAt.azimuth, elevation: moonAt.altitude });
  const moonFraction = getMoonIllumination(at).fraction;
  const atmosphere = new Atmosphere(0.0025 + 0.011 * weather.humidity ** 3);
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
  // Clouds take from the sun and give to the sky: whiter, and from everywhere.
  const grey = (1 - clear) * 0.2 * Math.max(0, bySun ? sun.y : 0);
  const light = bySun ? sunlight : moonlight;
  return {
    atmosphere,
    sun,
    moon,
    moonFraction,
    key: { direction: bySun ? sun : moon, light: scale(light, clear * clear) },
    ambient: [ambient[0] + grey * light[0], ambient[1] + grey * light[1], ambient[2] + grey * light[2]],
    clear,
    hours: at.getTime() / 3_600_000,
    weather,
  };
}

/** The clear sky in a direction, all lights together. */
export function skyLight(
  { atmosphere, sun, moon, moonFraction }: Lights,
  direction: Vector,
): { air: Light; haze: Light } {
  const { air, haze } = atmosphere.sky(direction.y, cosine(direction, sun), sun.y);
  const byMoon = atmosphere.sky(direction.y, cosine(direction, moon), moon.y);
  const share = moonFraction === 0 ? 0 : MOON * moonFraction ** 1.4;
  const phase = hazePhase(cosine(direction, moon));
  const dusk = duskAt(sun) * (1.25 - 0.6 * direction.y);
  // Scattered once only, the light of a sun far below is redder and stronger than what is left after dusk took over.
  const once = 10 ** (0.27 * Math.min(0, degreesUp(sun) + 1.5));
  for (let band = 0; band < 3; band++) {
    air[band] = (air[band] ?? 0) * once + dusk * (DUSK.colour[band] ?? 0);
    const more = share * ((byMoon.air[band] ?? 0) + phase * (byMoon.haze[band] ?? 0));
    air[band] = (air[band] ?? 0) + more + (NIGHT[band] ?? 0);
    haze[band] = (haze[band] ?? 0) * once;
  }
  return { air, haze };
}

/** Dusk's radiance, as if from everywhere. By day it is there and does not matter. */
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
