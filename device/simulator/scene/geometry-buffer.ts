import type { Lens } from "./lens.ts";
import { PlaneNoise, smoothstep } from "./noise.ts";
import type { Terrain } from "./terrain.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

export type HeightGrid = Awaited<ReturnType<typeof measureHeights>>;
export type GeometryBuffer = ReturnType<typeof allocate>;

const NEAR = 0.08;
const FAR = 27;
/** Distance between samples, relative to the distance from the camera. */
const STRIDE = 0.0042;
/** `cell`: kilometres between neighbouring points. */
const GRID = { columns: 512, rows: 432, cell: 0.0625 };
const BAND = 48;

/** Takes about 2 s for 1,280 × 960 pixels on a slow core. */
export async function renderGeometry(
  lens: Lens,
  terrain: Terrain,
  seed: number,
  signal: AbortSignal,
): Promise<GeometryBuffer> {
  const { width, height } = lens;
  const result = allocate(lens, await measureHeights(terrain, signal));
  for (let from = 0; from < width; from += BAND) {
    for (let column = from; column < Math.min(width, from + BAND); column++) castColumn(result, terrain, column);
    await yieldToEventLoop(signal);
  }
  const lowland = blur(result.grid);
  const painter = new SurfacePainter(result, terrain, lowland, seed);
  for (let from = 0; from < height; from += BAND) {
    for (let row = from; row < Math.min(height, from + BAND); row++) painter.row(row);
    await yieldToEventLoop(signal);
  }
  return result;
}

/** The geometry by pixel, which is the same in every light. */
function allocate(lens: Lens, grid: HeightGrid) {
  const pixels = lens.width * lens.height;
  return {
    lens,
    /** The first row of land by column. Fractions make the skyline smooth. */
    skyline: new Float32Array(lens.width).fill(lens.horizon),
    /** Distance in kilometres; 0 for sky. */
    distance: new Float32Array(pixels),
    /** Kilometres above the lake. */
    altitude: new Float32Array(pixels),
    /** Unit vectors, multiplied by 32,767. */
    normals: new Int16Array(pixels * 3),
    /** Reflectance of red, green and blue, multiplied by 255. */
    albedo: new Uint8Array(pixels * 3),
    /** Visible share of the sky, multiplied by 255. */
    openness: new Uint8Array(pixels),
    /** Position in the grid, in 1/64 cells. */
    gridX: new Uint16Array(pixels),
    gridZ: new Uint16Array(pixels),
    /** 1 for the lake. */
    water: new Uint8Array(pixels),
    grid,
  };
}

/** Steps away from the camera. Land is visible if it rises above all nearer land. */
function castColumn({ lens, distance, skyline, water }: GeometryBuffer, terrain: Terrain, column: number): void {
  const { width, height, focal, horizon } = lens;
  const across = (column + 0.5 - width / 2) / focal;
  let top = height;
  let lastRow = height + 1;
  let lastZ = NEAR;
  for (let z = NEAR; z < FAR && top > 0; z *= 1 + STRIDE) {
    const ground = terrain.height(across * z, z, z / focal);
    const row = horizon - (focal * (Math.max(0, ground) - terrain.cameraHeight)) / z;
    if (row < top) {
      const wet = ground <= 0 ? 1 : 0;
      for (let at = Math.max(0, Math.ceil(row)); at < Math.ceil(top); at++) {
        const part = lastRow > row ? Math.min(1, Math.max(0, (at - row) / (lastRow - row))) : 0;
        distance[at * width + column] = z + (lastZ - z) * part;
        water[at * width + column] = wet;
      }
      top = row;
      skyline[column] = row;
    }
    lastRow = row;
    lastZ = z;
  }
}

async function measureHeights(terrain: Terrain, signal: AbortSignal) {
  const { columns, rows, cell } = GRID;
  /** The x of the first column; the first row has z = 0. */
  const left = (-columns / 2) * cell;
  const heights = new Float32Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      heights[row * columns + column] = Math.max(0, terrain.height(left + column * cell, row * cell, cell / 4));
    if (row % BAND === 0) await yieldToEventLoop(signal);
  }
  /** 1 where the camera sees land within the cell. */
  const visible = new Uint8Array(columns * rows);
  return { columns, rows, cell, left, heights, visible };
}

/** The mean height of the surroundings. From a lower point, less sky is visible. */
function blur({ columns, rows, heights }: HeightGrid): Float32Array {
  const radius = 5;
  const across = new Float32Array(heights.length);
  const both = new Float32Array(heights.length);
  type Axis = { count: number; stride: number };
  const mean = (from: Float32Array, to: Float32Array, along: Axis, lines: Axis): void => {
    for (let line = 0; line < lines.count; line++) {
      for (let index = 0; index < along.count; index++) {
        let sum = 0;
        for (let offset = -radius; offset <= radius; offset++) {
          const at = Math.max(0, Math.min(along.count - 1, index + offset));
          sum += from[line * lines.stride + at * along.stride] ?? 0;
        }
        to[line * lines.stride + index * along.stride] = sum / (2 * radius + 1);
      }
    }
  };
  const [row, column] = [
    { count: columns, stride: 1 },
    { count: rows, stride: columns },
  ] as const;
  mean(heights, across, row, column);
  mean(across, both, column, row);
  return both;
}

class SurfacePainter {
  readonly #geometry: GeometryBuffer;
  readonly #terrain: Terrain;
  readonly #lowland: Float32Array;
  readonly #leaves: PlaneNoise;

  constructor(geometry: GeometryBuffer, terrain: Terrain, lowland: Float32Array, seed: number) {
    this.#geometry = geometry;
    this.#terrain = terrain;
    this.#lowland = lowland;
    this.#leaves = new PlaneNoise(seed ^ 0x2545f491);
  }

  row(row: number): void {
    const { width } = this.#geometry.lens;
    for (let column = 0; column < width; column++) {
      const pixel = row * width + column;
      if ((this.#geometry.distance[pixel] ?? 0) > 0) this.#pixel(pixel, column);
    }
  }

  #pixel(pixel: number, column: number): void {
    const { lens, distance, altitude, normals, albedo, openness, gridX, gridZ, water, grid } = this.#geometry;
    const terrain = this.#terrain;
    const z = distance[pixel] ?? 0;
    const x = ((column + 0.5 - lens.width / 2) / lens.focal) * z;
    const place = { x: (x - grid.left) / grid.cell, z: z / grid.cell };
    gridX[pixel] = Math.max(0, Math.min(grid.columns - 2, place.x)) * 64;
    gridZ[pixel] = Math.max(0, Math.min(grid.rows - 2, place.z)) * 64;
    const cell = Math.floor((gridZ[pixel] ?? 0) / 64) * grid.columns + Math.floor((gridX[pixel] ?? 0) / 64);
    for (const neighbour of [cell, cell + 1, cell + grid.columns, cell + grid.columns + 1]) grid.visible[neighbour] = 1;
    if (water[pixel] === 1) {
      normals[pixel * 3 + 1] = 32_767;
      openness[pixel] = 255;
      return;
    }

    const detail = z / lens.focal;
    const reach = Math.max(0.003, detail * 1.1);
    const here = terrain.height(x, z, detail);
    let slopeX = (terrain.height(x + reach, z, detail) - here) / reach;
    let slopeZ = (terrain.height(x, z + reach, detail) - here) / reach;
    const up = 1 / Math.sqrt(1 + slopeX * slopeX + slopeZ * slopeZ);
    const grain = terrain.grain(x, z);
    const fine = this.#leaves.fractal(x * 38, z * 38, 3);

    const wood =
      smoothstep(terrain.treeLine + 0.1, terrain.treeLine - 0.1, here + 0.34 * grain + 0.1 * fine) *
      smoothstep(0.58, 0.68, up + 0.1 * grain + 0.05 * fine);
    const snow =
      smoothstep(
        terrain.snowLine - 0.12,
        terrain.snowLine + 0.14,
        here + 0.45 * grain + 0.12 * fine + 0.5 * (up - 0.75),
      ) * smoothstep(0.36, 0.56, up + 0.17 * fine + 0.12 * grain + 0.05 * (here - 1.6));
    const grass =
      smoothstep(terrain.snowLine + 0.1, terrain.treeLine, here + 0.3 * grain) *
      smoothstep(0.6, 0.82, up + 0.12 * grain);

    let crown = 0;
    if (wood > 0.02 && z < 14) {
      const size = 1 / 0.011;
      crown =
        Math.abs(this.#leaves.at(x * size, z * size * 0.8)) * 0.7 +
        Math.abs(this.#leaves.at(x * size * 2.1, z * size * 1.9)) * 0.3;
      const rough = wood * Math.min(1, 6 / z);
      slopeX += rough * 1.5 * this.#leaves.at(x * size + 40, z * size);
      slopeZ += rough * 1.5 * this.#leaves.at(x * size, z * size + 40);
    }
    const length = Math.sqrt(1 + slopeX * slopeX + slopeZ * slopeZ);
    normals[pixel * 3] = (-slopeX / length) * 32_767;
    normals[pixel * 3 + 1] = 32_767 / length;
    normals[pixel * 3 + 2] = (-slopeZ / length) * 32_767;
    altitude[pixel] = Math.max(0, here);

    const shade = 1 + 0.3 * grain + 0.22 * fine;
    const [rockR, rockG, rockB] = terrain.rock;
    const strata = 1 + 0.14 * Math.sin(here * 58 + grain * 4);
    const mixed = (rock: number, meadow: number, tree: number, white: number): number => {
      const stone = rock * shade * strata;
      const green = stone + (meadow * shade - stone) * grass * 0.85;
      const leaved = green + (tree * (0.45 + 1.5 * crown) - green) * wood;
      return Math.max(0, Math.min(255, 255 * (leaved + (white - leaved) * snow)));
    };
    albedo[pixel * 3] = mixed(rockR, 0.09, 0.032, 0.88 + 0.05 * fine);
    albedo[pixel * 3 + 1] = mixed(rockG, 0.105, 0.047, 0.9 + 0.05 * fine);
    albedo[pixel * 3 + 2] = mixed(rockB, 0.045, 0.03, 0.93 + 0.05 * fine);

    const hollow = (this.#lowland[cell] ?? 0) - here;
    const under = wood * (0.55 - Math.min(0.55, crown));
    openness[pixel] = 255 * Math.max(0.25, Math.min(1, 0.92 - 1.5 * hollow)) * (1 - 0.5 * under);
  }
}
