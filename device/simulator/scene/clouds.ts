import type { Lens } from "./lens.ts";
import type { Lighting } from "./lighting.ts";
import { PlaneNoise, smoothstep } from "./noise.ts";

const LAYER = 2.6;
/** Clouds are computed for squares of this many pixels. The clouds' soft edges hide the squares. */
export const CLOUD_BLOCK = 2;

/** For each block of pixels: the opacity, and the share of sunlight on the visible side, both from 0 to 1. */
export interface Clouds {
  columns: number;
  rows: number;
  density: Float32Array;
  lit: Float32Array;
}

export class CloudLayer {
  readonly #noise: PlaneNoise;
  readonly #lens: Lens;
  readonly #clouds: Clouds;

  constructor(lens: Lens, seed: number) {
    this.#noise = new PlaneNoise(seed ^ 0x7f4a7c15);
    this.#lens = lens;
    const columns = Math.ceil(lens.width / CLOUD_BLOCK) + 1;
    const rows = Math.ceil(lens.horizon / CLOUD_BLOCK) + 1;
    const blocks = columns * rows;
    this.#clouds = { columns, rows, density: new Float32Array(blocks), lit: new Float32Array(blocks) };
  }

  /** @param lastRow the lowest pixel row with sky */
  at({ weather, hours, key }: Lighting, lastRow: number): Clouds {
    const { columns, rows, density, lit } = this.#clouds;
    const { width, focal, horizon } = this.#lens;
    // A second noise moves in another direction and changes the form of the clouds.
    const drift = hours * (5 + weather.windMs * 2.2);
    const morph = hours * 3.1;
    const threshold = 0.33 - 0.72 * weather.cloud;
    const flat = Math.hypot(key.direction.x, key.direction.z) || 1;
    const towardsX = (key.direction.x / flat) * 0.32;
    const towardsZ = (key.direction.z / flat) * 0.32;
    const until = Math.min(rows, Math.ceil(lastRow / CLOUD_BLOCK) + 2);
    for (let row = 0; row < until; row++) {
      const up = Math.max(0.012, (horizon - row * CLOUD_BLOCK) / focal);
      const away = LAYER / (up + 0.035);
      const octaves = Math.max(2, Math.min(6, Math.floor(8.2 - Math.log2(away))));
      const fade = smoothstep(0.01, 0.09, up);
      for (let column = 0; column < columns; column++) {
        const across = (column * CLOUD_BLOCK - width / 2) / focal;
        const x = (across * away + drift) * 0.17;
        const z = away * 0.21;
        const here = this.#thickness(x, z, morph, octaves) - threshold;
        const block = row * columns + column;
        const cover = smoothstep(0, 0.42, here) * fade;
        density[block] = cover;
        if (cover < 0.004) continue;
        const beyond = this.#thickness(x + towardsX, z + towardsZ, morph, Math.min(octaves, 3)) - threshold;
        lit[block] = Math.exp(-2.3 * Math.max(0, 0.55 * beyond + 0.75 * here));
      }
    }
    return this.#clouds;
  }

  #thickness(x: number, z: number, morph: number, octaves: number): number {
    const bent = x + 0.35 * this.#noise.at(x * 0.7 + 5, z * 0.7 - morph * 0.05);
    return (
      this.#noise.fractal(bent, z, octaves) * 0.95 +
      0.34 * this.#noise.at(bent * 0.31 - morph * 0.06 + 11, z * 0.31 + morph * 0.02) +
      0.1 * this.#noise.at(bent * 2.3 + morph * 0.3, z * 2.3 - 7)
    );
  }
}

/** Brightness of thin clouds in front of the light. @param towards cosine of the angle to the light */
export function silverLining(towards: number): number {
  return 0.62 + 0.5 * Math.max(0, towards) ** 4 + 2.2 * Math.max(0, towards) ** 48;
}
