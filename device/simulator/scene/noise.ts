export function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}

/** Random numbers from 0 to 1 (mulberry32). The same seed gives the same numbers. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** A smooth curve through a random value at every integer. From −1 to 1. */
export function smoothNoise(time: number, seed: number): number {
  const step = Math.floor(time);
  const part = time - step;
  const ease = part * part * part * (part * (part * 6 - 15) + 10);
  const from = valueAt(step, seed);
  return from + (valueAt(step + 1, seed) - from) * ease;
}

function valueAt(step: number, seed: number): number {
  let hash = Math.imul(step | 0, 0x27d4eb2d) ^ Math.imul(seed | 0, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2_147_483_648 - 1;
}

export function smoothstep(from: number, to: number, value: number): number {
  const part = Math.max(0, Math.min(1, (value - from) / (to - from)));
  return part * part * (3 - 2 * part);
}

export class PlaneNoise {
  readonly #order = new Int32Array(512);
  /** Indexed by the sum of a column's and a row's permuted index, which saves a lookup per corner. */
  readonly #gradientX = new Float64Array(512);
  readonly #gradientY = new Float64Array(512);

  constructor(seed: number) {
    const random = randomFrom(seed);
    const angles = Array.from({ length: 256 }, (_, index) => {
      this.#order[index] = index;
      return random() * 2 * Math.PI;
    });
    for (let index = 255; index > 0; index--) {
      const other = Math.floor(random() * (index + 1));
      const swapped = this.#order[index] ?? 0;
      this.#order[index] = this.#order[other] ?? 0;
      this.#order[other] = swapped;
    }
    this.#order.copyWithin(256, 0, 256);
    for (const [index, corner] of this.#order.entries()) {
      this.#gradientX[index] = Math.cos(angles[corner] ?? 0) * 1.5;
      this.#gradientY[index] = Math.sin(angles[corner] ?? 0) * 1.5;
    }
  }

  at(x: number, y: number): number {
    const cellX = Math.floor(x);
    const cellY = Math.floor(y);
    const partX = x - cellX;
    const partY = y - cellY;
    const easeX = partX * partX * partX * (partX * (partX * 6 - 15) + 10);
    const easeY = partY * partY * partY * (partY * (partY * 6 - 15) + 10);
    const order = this.#order;
    const left = order[cellX & 255] ?? 0;
    const right = order[(cellX + 1) & 255] ?? 0;
    const down = cellY & 255;
    const up = (cellY + 1) & 255;
    const gx = this.#gradientX;
    const gy = this.#gradientY;
    const a = left + down;
    const b = right + down;
    const c = left + up;
    const d = right + up;
    const va = (gx[a] ?? 0) * partX + (gy[a] ?? 0) * partY;
    const vb = (gx[b] ?? 0) * (partX - 1) + (gy[b] ?? 0) * partY;
    const vc = (gx[c] ?? 0) * partX + (gy[c] ?? 0) * (partY - 1);
    const vd = (gx[d] ?? 0) * (partX - 1) + (gy[d] ?? 0) * (partY - 1);
    const bottom = va + (vb - va) * easeX;
    return bottom + (vc + (vd - vc) * easeX - bottom) * easeY;
  }

  /** Sums octaves, each with half the size and amplitude of the one before. */
  fractal(x: number, y: number, octaves: number): number {
    let sum = 0;
    let height = 0.5;
    let u = x;
    let v = y;
    for (let octave = 0; octave < octaves; octave++) {
      sum += height * this.at(u, v);
      height *= 0.5;
      // Rotated, so that the grid is not visible.
      const turned = 1.62 * u - 1.2 * v + 17.3;
      v = 1.2 * u + 1.62 * v + 9.1;
      u = turned;
    }
    return sum;
  }

  /** Sharp crests that look like eroded rock, sharper where the octave before was high. 0 to about 1. */
  ridged(x: number, y: number, octaves: number): number {
    let sum = 0;
    let height = 0.5;
    let weight = 1;
    let u = x;
    let v = y;
    for (let octave = 0; octave < octaves; octave++) {
      let crest = 1 - Math.abs(this.at(u, v));
      crest = crest * crest * weight;
      sum += crest * height;
      weight = Math.min(1, crest * 1.9);
      height *= 0.5;
      const turned = 1.64 * u - 1.21 * v + 3.7;
      v = 1.21 * u + 1.64 * v + 11.9;
      u = turned;
    }
    return sum;
  }
}

/** Interpolates in a table. `right` and `below` are the distances from a cell to its neighbours. */
export function between(
  values: Float32Array,
  cell: number,
  below: number,
  partX: number,
  partY: number,
  right = 1,
): number {
  const top = (values[cell] ?? 0) * (1 - partX) + (values[cell + right] ?? 0) * partX;
  const bottom = (values[cell + below] ?? 0) * (1 - partX) + (values[cell + below + right] ?? 0) * partX;
  return top + (bottom - top) * partY;
}
