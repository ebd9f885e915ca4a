/** A direction or a place: x to the right, y up, z away from the camera. */
export interface Vector {
  x: number;
  y: number;
  z: number;
}

const DEGREE = Math.PI / 180;
const FIELD_OF_VIEW = 50 * DEGREE;
/** How far down the picture the horizon is: a shifted lens, so that what is upright stays so. */
const HORIZON = 0.64;

/** How directions become pixels. */
export interface Lens {
  readonly width: number;
  readonly height: number;
  /** Pixels. */
  readonly focal: number;
  readonly horizon: number;
  /** Degrees clockwise from north. */
  readonly facing: number;
}

export function createLens(width: number, height: number, facing: number): Lens {
  return { width, height, focal: width / 2 / Math.tan(FIELD_OF_VIEW / 2), horizon: height * HORIZON, facing };
}

/** The direction of a place in the sky. */
export function directionOf(lens: Lens, { azimuth, elevation }: { azimuth: number; elevation: number }): Vector {
  const turn = (azimuth - lens.facing) * DEGREE;
  const flat = Math.cos(elevation * DEGREE);
  return { x: Math.sin(turn) * flat, y: Math.sin(elevation * DEGREE), z: Math.cos(turn) * flat };
}

/** Where a direction is in the picture, in pixels, maybe outside of it; undefined behind the camera. */
export function pixelOf(lens: Lens, { x, y, z }: Vector): { column: number; row: number } | undefined {
  if (z < 0.05) return undefined;
  return { column: lens.width / 2 + (lens.focal * x) / z, row: lens.horizon - (lens.focal * y) / z };
}
