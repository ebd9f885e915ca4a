import { between } from "./noise.ts";

/** Red, green and blue radiance. 1 is the radiance of the sun outside the atmosphere. */
export type Light = [number, number, number];

/** Scattered sunlight: air makes the blue (Rayleigh), haze the white (Mie), ozone the colour of the blue hour. */
export interface SkyLight {
  /** Scattered by air, with its phase function. */
  air: Light;
  /** Scattered by haze, without its phase function, whose peak is narrower than the cells of a sky table. */
  haze: Light;
}

// Lengths in kilometres, and scattering per kilometre at sea level. The usual values of the literature on sky rendering
// (Bruneton and Neyret 2008; Hillaire 2020 for ozone).
const GROUND = 6360;
const SPACE = 6425;
const AIR_HEIGHT = 8;
const HAZE_HEIGHT = 1.2;
const AIR: Light = [0.0058, 0.0135, 0.0331];
const OZONE: Light = [0.00065, 0.00188, 0.000085];
const HAZE_ABSORPTION = 1.11;
const HAZE_FORWARD = 0.77;
export const CAMERA_KM = 1.8;

const VIEW_STEPS = 18;
const LIGHT_STEPS = 40;
const TABLE_HEIGHTS = 40;
const TABLE_SLOPES = 128;
const LOWEST_SLOPE = -0.22;

/** Share of light that is scattered again. Without it dusk would be too dark. */
const MULTIPLE_SCATTERING = 0.16;

export class Atmosphere {
  readonly #haze: number;
  /** Transmitted sunlight by height and sine of the elevation. */
  readonly #transmittance = new Float32Array(TABLE_HEIGHTS * TABLE_SLOPES * 3);

  /** @param haze scattering by haze, per kilometre at the ground: 0.002 clear, 0.02 hazy */
  constructor(haze: number) {
    this.#haze = haze;
    for (let row = 0; row < TABLE_HEIGHTS; row++) {
      for (let column = 0; column < TABLE_SLOPES; column++) {
        const height = (row / (TABLE_HEIGHTS - 1)) ** 2 * (SPACE - GROUND);
        const slope = LOWEST_SLOPE + (1 - LOWEST_SLOPE) * (column / (TABLE_SLOPES - 1)) ** 2;
        const left = this.#integrate(GROUND + height, slope);
        for (let band = 0; band < 3; band++)
          this.#transmittance[(row * TABLE_SLOPES + column) * 3 + band] = left[band] ?? 0;
      }
    }
  }

  /**
   * The share of a light that arrives from space.
   * @param height kilometres above the sea
   * @param slope sine of the light's elevation
   */
  transmitted(height: number, slope: number): Light {
    const row = Math.sqrt(Math.max(0, Math.min(1, height / (SPACE - GROUND)))) * (TABLE_HEIGHTS - 1.001);
    const column =
      Math.sqrt(Math.max(0, Math.min(1, (slope - LOWEST_SLOPE) / (1 - LOWEST_SLOPE)))) * (TABLE_SLOPES - 1.001);
    const row0 = Math.floor(row);
    const column0 = Math.floor(column);
    const first = (row0 * TABLE_SLOPES + column0) * 3;
    const band = (index: number): number =>
      between(this.#transmittance, first + index, TABLE_SLOPES * 3, column - column0, row - row0, 3);
    return [band(0), band(1), band(2)];
  }

  /**
   * @param up sine of the direction's elevation
   * @param towards cosine of the angle to the sun
   * @param sun sine of the sun's elevation
   */
  sky(up: number, towards: number, sun: number): SkyLight {
    const start = GROUND + CAMERA_KM;
    const end = distanceToSphere(start, up, SPACE);
    const hit = distanceToGround(start, up);
    const length = Math.min(end, hit ?? end);
    const airPhase = (3 / (16 * Math.PI)) * (1 + towards * towards);
    const air: Light = [0, 0, 0];
    const haze: Light = [0, 0, 0];
    const depth: Light = [0, 0, 0];
    let before = 0;
    for (let step = 0; step < VIEW_STEPS; step++) {
      // Shorter steps near the camera, where the air is thickest.
      const to = length * ((step + 1) / VIEW_STEPS) ** 2;
      const at = (before + to) / 2;
      const stride = to - before;
      before = to;
      const radius = Math.sqrt(start * start + at * at + 2 * start * at * up);
      const height = radius - GROUND;
      const airThere = Math.exp(-height / AIR_HEIGHT);
      const hazeThere = this.#haze * Math.exp(-height / HAZE_HEIGHT);
      const ozoneThere = ozoneAt(height);
      // The sun's elevation at this point differs from that at the camera, because the earth is round.
      const slope = Math.max(-1, Math.min(1, (sun * (start + at * up) + at * (towards - up * sun)) / radius));
      const light = this.transmitted(height, slope);
      const glow = this.transmitted(height + 6, slope + 0.1);
      for (let band = 0; band < 3; band++) {
        const scatter = (AIR[band] ?? 0) * airThere;
        const taken = scatter + hazeThere * HAZE_ABSORPTION + (OZONE[band] ?? 0) * ozoneThere;
        const left = Math.exp(-((depth[band] ?? 0) + (taken * stride) / 2));
        depth[band] = (depth[band] ?? 0) + taken * stride;
        const again = (MULTIPLE_SCATTERING / (4 * Math.PI)) * (glow[band] ?? 0) * (scatter * 2.4 + hazeThere);
        air[band] = (air[band] ?? 0) + left * stride * (scatter * airPhase * (light[band] ?? 0) + again);
        haze[band] = (haze[band] ?? 0) + left * stride * hazeThere * (light[band] ?? 0);
      }
    }
    return { air, haze };
  }

  #integrate(from: number, slope: number): Light {
    const length = distanceToSphere(from, slope, SPACE);
    const nearest = slope < 0 ? from * Math.sqrt(1 - slope * slope) : from;
    // The earth's shadow has a soft edge, because air refracts light.
    const over = Math.max(0, Math.min(1, (nearest - GROUND + 1.5) / 2.5));
    const depth: Light = [0, 0, 0];
    const stride = length / LIGHT_STEPS;
    for (let step = 0; step < LIGHT_STEPS; step++) {
      const at = (step + 0.5) * stride;
      const height = Math.max(0, Math.sqrt(from * from + at * at + 2 * from * at * slope) - GROUND);
      const air = Math.exp(-height / AIR_HEIGHT);
      const haze = this.#haze * HAZE_ABSORPTION * Math.exp(-height / HAZE_HEIGHT);
      const ozone = ozoneAt(height);
      for (let band = 0; band < 3; band++)
        depth[band] = (depth[band] ?? 0) + stride * ((AIR[band] ?? 0) * air + haze + (OZONE[band] ?? 0) * ozone);
    }
    return [over * Math.exp(-depth[0]), over * Math.exp(-depth[1]), over * Math.exp(-depth[2])];
  }
}

/** Phase function of haze by Cornette and Shanks. @param towards cosine of the angle to the light */
export function hazePhase(towards: number): number {
  const g = HAZE_FORWARD;
  const below = 1 + g * g - 2 * g * towards;
  return ((3 / (8 * Math.PI)) * (1 - g * g) * (1 + towards * towards)) / ((2 + g * g) * below * Math.sqrt(below));
}

function ozoneAt(height: number): number {
  return Math.max(0, 1 - Math.abs(height - 25) / 15);
}

function distanceToSphere(from: number, slope: number, radius: number): number {
  return -from * slope + Math.sqrt(Math.max(0, radius * radius - from * from * (1 - slope * slope)));
}

function distanceToGround(from: number, slope: number): number | undefined {
  const under = GROUND * GROUND - from * from * (1 - slope * slope);
  return slope < 0 && under > 0 ? -from * slope - Math.sqrt(under) : undefined;
}
