import { PlaneNoise, randomFrom, smoothstep } from "./noise.ts";

/**
 * The land in kilometres: x to the right, z away from the camera, heights above the lake. A massif of one to three
 * peaks, ranges behind it, and a lake between wooded slopes.
 */
export interface Terrain {
  /** @param detail the size of the smallest visible detail */
  height(x: number, z: number, detail: number): number;
  /** Noise for details outside of the heights: colour of rock, edges of snow and wood. About −1 to 1. */
  grain(x: number, z: number): number;
  /** Above the snow line, snow lies all year. Below the tree line, trees grow. */
  readonly snowLine: number;
  readonly treeLine: number;
  /** The compass direction of the z axis, degrees. */
  readonly facing: number;
  readonly cameraHeight: number;
  readonly rock: readonly [number, number, number];
}

/** Tangent of the angle from the camera up to the summit. With this angle, every mountain fills the picture. */
const SUMMIT_SLOPE = 0.365;

const ROCKS = [
  [0.165, 0.155, 0.15],
  [0.2, 0.17, 0.145],
  [0.145, 0.15, 0.16],
  [0.21, 0.19, 0.17],
] as const;

export function createTerrain(seed: number): Terrain {
  const random = randomFrom(seed);
  const between = (from: number, to: number): number => from + (to - from) * random();
  const noise = new PlaneNoise(seed ^ 0x5bd1e995);
  // West or east: one golden hour lights the summit from the front, the other from behind.
  const facing = (random() < 0.5 ? between(238, 300) : between(62, 122)) % 360;
  const peaks = createPeaks(between, Math.floor(between(1, 3.99)));
  const lakeEnd = between(2.4, 3.8);
  const valleyTurn = between(-0.5, 0.5);
  const valleyWidth = between(0.5, 0.85);
  const sideHeights = [between(0.75, 1.3), between(0.75, 1.3)] as const;
  const backHeight = between(1.1, 1.9);
  const crag = between(0.85, 1.2);
  const warpScale = between(0.16, 0.24);
  const rock = ROCKS[Math.floor(random() * ROCKS.length)] ?? ROCKS[0];

  function unscaled(x: number, z: number, detail: number): number {
    const octaves = Math.max(3, Math.min(9, Math.floor(Math.log2(1.6 / detail))));
    const warpX = x + 0.55 * noise.fractal(x * warpScale + 31, z * warpScale, 3);
    const warpZ = z + 0.55 * noise.fractal(x * warpScale, z * warpScale + 57, 3);

    let massif = 0;
    let rest = 0;
    for (const peak of peaks) {
      // Rounded at the top: otherwise the peak would be a needle.
      const acrossPeak = warpX - peak.x;
      const alongPeak = (warpZ - peak.z) * 0.8;
      // Math.hypot would take ten times as long.
      const away = Math.sqrt(acrossPeak * acrossPeak + alongPeak * alongPeak + 0.09) - 0.3;
      const share = peak.height * Math.exp(-away / peak.radius);
      // The height is mainly that of the peak that is highest at this point: the sum over all peaks would be one broad
      // hill.
      rest += share;
      if (share > massif) massif = share;
    }
    massif += 0.22 * (rest - massif);
    massif = Math.max(0, massif - 0.16) * smoothstep(0.5, 3.4, z);

    const farness = smoothstep(11, 17, z);
    const back = farness === 0 ? 0 : farness * backHeight * (0.55 + 0.9 * noise.fractal(x * 0.11 + 7, z * 0.11 + 3, 3));
    const middle = valleyTurn * Math.max(0, z - 1.2) * 0.35;
    const fromMiddle = x - middle;
    const side = fromMiddle < 0 ? sideHeights[0] : sideHeights[1];
    const open = valleyWidth + 0.2 * z * 0.35 + 0.22 * noise.at(z * 0.6 + 5, fromMiddle < 0 ? 1.5 : 8.5);
    const slopes = side * smoothstep(open * 0.72, open + 2.3, Math.abs(fromMiddle)) * smoothstep(0.2, 2.4, z);

    const bulk = massif + Math.max(0, back) + slopes;
    const crests = noise.ridged(warpX * 0.42 + 13, warpZ * 0.42 + 29, octaves);
    // Spurs down to the valley, with gullies between them.
    const spurs = bulk < 0.02 ? 0 : noise.ridged(warpX * 0.8 + 43, warpZ * 0.62 + 5, Math.min(octaves, 6)) - 0.5;
    const rough =
      (crests - 0.42) * crag * (0.03 + 0.62 * bulk * smoothstep(0.1, 1.6, bulk) + 0.12 * smoothstep(0.02, 0.4, bulk));
    const shore = lakeEnd + 0.9 * noise.fractal(x * 0.5 + 3, z * 0.3 + 61, 4);
    const floor = Math.max(-0.03, Math.min(0.12, (z - shore) * 0.06 - 0.03));
    return floor + bulk + rough + spurs * 0.5 * smoothstep(0.02, 0.75, bulk) * (1 - 0.6 * smoothstep(0.9, 2, bulk));
  }

  const scale = SUMMIT_SLOPE / steepestView(unscaled);
  return {
    height(x, z, detail) {
      const ground = unscaled(x, z, detail);
      return ground > 0 ? ground * scale : ground;
    },
    grain: (x, z) => noise.fractal(x * 9 + 71, z * 9 + 19, 4),
    snowLine: between(0.98, 1.4),
    treeLine: between(0.5, 0.68),
    facing,
    cameraHeight: between(0.028, 0.045),
    rock,
  };
}

function steepestView(height: (x: number, z: number, detail: number) => number): number {
  let steepest = 0.05;
  for (let z = 1; z < 14; z *= 1.03) {
    for (let across = -0.5; across <= 0.5; across += 0.02)
      steepest = Math.max(steepest, height(across * z, z, 0.02) / z);
  }
  return steepest;
}

/** A dominant peak off the centre, and lower ones beside and behind it. */
function createPeaks(between: (from: number, to: number) => number, count: number) {
  const side = between(-1, 1) < 0 ? -1 : 1;
  /** `radius`: the distance from the summit at which the height is about a third. */
  const main = {
    x: side * between(0.1, 1.1),
    z: between(8.2, 9.8),
    height: between(2.9, 3.5),
    radius: between(1.5, 2.3),
  };
  const peaks = [main];
  for (let index = 1; index < count; index++) {
    const away = (index % 2 === 1 ? -side : side) * between(2.1, 3.3);
    peaks.push({
      x: main.x + away,
      z: main.z + between(-0.6, 2.2),
      height: main.height * between(0.55, 0.84),
      radius: between(1.2, 1.9),
    });
  }
  return peaks;
}
