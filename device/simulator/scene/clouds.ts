import type { Lens } from "./lens.ts";
import type { Lighting } from "./lighting.ts";
import { PlaneNoise, smoothstep } from "./noise.ts";

/** Height of the cloud layer above the camera, kilometres. */
const LAYER = 2.6;
/** Clouds are computed for blocks of this many pixels on each side. Their soft edges hide the blocks. */
export const CLOUD_BLOCK = 2;

/** The clouds in the view, by block. */
export interface Clouds {
  readonly columns: number;
  readonly rows: number;
  /** Opacity, 0 to 1. */
  readonly density: Float32Array;
  /** Share of the sun's light that reaches the visible side, 0 to 1. */
  readonly lit: Float32Array;
}

/** A layer of clouds that drifts with the wind. */
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

  /** @param lastRow the lowest row of pixels in which the sky is visible */
  at({ weather, hours, key }: Lighting, lastRow: number): Clouds {
    const { columns, rows, density, lit } = this.#clouds;
    const { width, focal, horizon } = this.#lens;
    // Clouds drift with the wind. A second noise moves in another direction and changes their form.
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
      // Far clouds are thin streaks. Details smaller than a pixel would only flicker.
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

/** Brightness of thin clouds seen against the light. @param towards cosine of the angle to the light */
export function silverLining(towards: number): number {
  return 0.62 + 0.5 * Math.max(0, towards) ** 4 + 2.2 * Math.max(0, towards) ** 48;
}
