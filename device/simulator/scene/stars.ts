import type { Location } from "../../../contract/schedule/sun.ts";
import { directionOf, type Lens, pixelOf, type Vector } from "./lens.ts";
import { PlaneNoise, randomFrom } from "./noise.ts";

const STARS = 9000;
const DEGREE = Math.PI / 180;
const BRIGHTEST = 4e-4;
/** The positions of the galactic north pole and centre, degrees (J2000). */
const GALACTIC_POLE = { ascension: 192.86, declination: 27.13 };
const GALACTIC_CENTRE = { ascension: 266.4, declination: -28.94 };

interface Star {
  ascension: number;
  declination: number;
  light: number;
  warmth: number;
}

/** Invented stars that rotate around the real pole at the real speed. */
export class StarrySky {
  readonly #lens: Lens;
  readonly #stars: Star[];
  readonly #noise: PlaneNoise;

  constructor(lens: Lens, seed: number) {
    this.#lens = lens;
    this.#noise = new PlaneNoise(seed ^ 0x1b873593);
    const random = randomFrom(seed ^ 0x3c6ef372);
    this.#stars = Array.from({ length: STARS }, () => ({
      ascension: random() * 360,
      declination: Math.asin(random() * 2 - 1) / DEGREE,
      light: BRIGHTEST * Math.min(1, 0.0035 / (random() + 0.002)) ** 1.1,
      warmth: random(),
    }));
  }

  each(at: Date, location: Location, draw: (column: number, row: number, light: number, warmth: number) => void): void {
    const sidereal = siderealDegrees(at, location.lon);
    for (const star of this.#stars) {
      const direction = towards(star, sidereal, location.lat, this.#lens);
      if (direction.y < 0.01 || direction.z < 0.1) continue;
      const pixel = pixelOf(this.#lens, direction);
      if (pixel !== undefined)
        draw(pixel.column, pixel.row, star.light * Math.exp(-0.12 / (direction.y + 0.05)), star.warmth);
    }
  }

  /** The light of the Milky Way by direction, 0 to about 1. */
  milkyWay(at: Date, location: Location): (direction: Vector) => number {
    const sidereal = siderealDegrees(at, location.lon);
    const pole = towards(GALACTIC_POLE, sidereal, location.lat, this.#lens);
    const centre = towards(GALACTIC_CENTRE, sidereal, location.lat, this.#lens);
    const side = {
      x: pole.y * centre.z - pole.z * centre.y,
      y: pole.z * centre.x - pole.x * centre.z,
      z: pole.x * centre.y - pole.y * centre.x,
    };
    return ({ x, y, z }) => {
      const latitude = x * pole.x + y * pole.y + z * pole.z;
      if (Math.abs(latitude) > 0.45) return 0;
      const along = Math.atan2(x * side.x + y * side.y + z * side.z, x * centre.x + y * centre.y + z * centre.z);
      const patches = this.#noise.fractal(along * 4, latitude * 9, 4);
      const dust = Math.exp(-(((latitude - 0.02 + 0.05 * patches) / 0.035) ** 2));
      const band = Math.exp(-((latitude / 0.16) ** 2)) * (1 + 0.9 * Math.exp(-((along / 0.6) ** 2)));
      return Math.max(0, band * (0.62 + 0.9 * patches) * (1 - 0.55 * dust));
    };
  }
}

/** Local sidereal time (Meeus 12.4). */
function siderealDegrees(at: Date, lon: number): number {
  const days = at.getTime() / 86_400_000 - 10_957.5;
  return (280.46061837 + 360.98564736629 * days + lon) % 360;
}

function towards(place: { ascension: number; declination: number }, sidereal: number, lat: number, lens: Lens): Vector {
  const hour = (sidereal - place.ascension) * DEGREE;
  const declination = place.declination * DEGREE;
  const latitude = lat * DEGREE;
  const up = Math.sin(latitude) * Math.sin(declination) + Math.cos(latitude) * Math.cos(declination) * Math.cos(hour);
  const azimuth = Math.atan2(
    Math.sin(hour),
    Math.cos(hour) * Math.sin(latitude) - Math.tan(declination) * Math.cos(latitude),
  );
  return directionOf(lens, { azimuth: azimuth / DEGREE + 180, elevation: Math.asin(up) / DEGREE });
}
