export interface Vector {
  x: number;
  y: number;
  z: number;
}

const DEGREE = Math.PI / 180;
const FIELD_OF_VIEW = 50 * DEGREE;
/** The horizon's share of the height. A shifted lens keeps vertical lines vertical. */
const HORIZON = 0.64;

export type Lens = Readonly<ReturnType<typeof createLens>>;

/** @param facing degrees clockwise from north */
export function createLens(width: number, height: number, facing: number) {
  /** Focal length in pixels, and the row of the horizon. */
  const [focal, horizon] = [width / 2 / Math.tan(FIELD_OF_VIEW / 2), height * HORIZON];
  return { width, height, focal, horizon, facing };
}

/** Both angles in degrees. */
export function directionOf(lens: Lens, { azimuth, elevation }: { azimuth: number; elevation: number }): Vector {
  const turn = (azimuth - lens.facing) * DEGREE;
  const flat = Math.cos(elevation * DEGREE);
  return { x: Math.sin(turn) * flat, y: Math.sin(elevation * DEGREE), z: Math.cos(turn) * flat };
}

/** Possibly outside of the picture; undefined behind the camera. */
export function pixelOf(lens: Lens, { x, y, z }: Vector): { column: number; row: number } | undefined {
  if (z < 0.05) return undefined;
  return { column: lens.width / 2 + (lens.focal * x) / z, row: lens.horizon - (lens.focal * y) / z };
}
