import type { GeometryBuffer } from "./geometry-buffer.ts";
import type { Lighting } from "./lighting.ts";
import { between, PlaneNoise, smoothstep } from "./noise.ts";
import { castShadows } from "./shadows.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

/** Extinction by clear air per kilometre, and reflectance of deep water: red, green, blue. */
const EXTINCTION = [0.014, 0.021, 0.034] as const;
const WATER = [0.004, 0.013, 0.016] as const;

export class Land {
  readonly #geometry: GeometryBuffer;
  readonly #shadows: Float32Array;
  readonly #ripples: PlaneNoise;

  constructor(geometry: GeometryBuffer, seed: number) {
    this.#geometry = geometry;
    this.#shadows = new Float32Array(geometry.grid.heights.length);
    this.#ripples = new PlaneNoise(seed ^ 0x0badcafe);
  }

  /** @param horizon the colour of the haze by column */
  async paint(into: Float32Array, lighting: Lighting, horizon: Float32Array, signal: AbortSignal): Promise<void> {
    const { height, horizon: horizonRow } = this.#geometry.lens;
    castShadows(this.#geometry.grid, lighting.key.direction, this.#shadows);
    await yieldToEventLoop(signal);
    for (let row = 0; row < height; row++) {
      this.#landRow(into, row, lighting, horizon);
      if (row % 96 === 0) await yieldToEventLoop(signal);
    }
    for (let row = Math.floor(horizonRow); row < height; row++) this.#waterRow(into, row, lighting, horizon);
  }

  #landRow(into: Float32Array, row: number, lighting: Lighting, horizon: Float32Array): void {
    const { lens, skyline, distance, altitude, normals, albedo, openness, gridX, gridZ, water, grid } = this.#geometry;
    const { width } = lens;
    const { direction, light } = lighting.key;
    const [keyR, keyG, keyB] = [light[0] / Math.PI, light[1] / Math.PI, light[2] / Math.PI];
    const { ambient } = lighting;
    const [skyR, skyG, skyB] = [ambient[0] / Math.PI, ambient[1] / Math.PI, ambient[2] / Math.PI];
    const bounce = 0.1 * Math.max(0, direction.y);
    const haze = 0.55 + 1.5 * lighting.weather.humidity ** 2;
    const [takesR, takesG, takesB] = [EXTINCTION[0] * haze, EXTINCTION[1] * haze, EXTINCTION[2] * haze];
    const mist = mistOf(lighting);
    const shadows = this.#shadows;
    for (let column = 0; column < width; column++) {
      const pixel = row * width + column;
      const away = distance[pixel] ?? 0;
      if (away === 0 || water[pixel] === 1) continue;
      const nx = (normals[pixel * 3] ?? 0) / 32_767;
      const ny = (normals[pixel * 3 + 1] ?? 0) / 32_767;
      const nz = (normals[pixel * 3 + 2] ?? 0) / 32_767;
      const facing = nx * direction.x + ny * direction.y + nz * direction.z;
      const gx = (gridX[pixel] ?? 0) / 64;
      const gz = (gridZ[pixel] ?? 0) / 64;
      const x0 = Math.floor(gx);
      const z0 = Math.floor(gz);
      const point = z0 * grid.columns + x0;
      const shadow = between(shadows, point, grid.columns, gx - x0, gz - z0);
      const direct = Math.max(0, facing) * shadow;
      const open = (openness[pixel] ?? 0) / 255;
      const sky = open * (0.52 + 0.48 * ny);
      const lit = direct + bounce * open * (1.2 - ny);
      const albedoR = (albedo[pixel * 3] ?? 0) / 255;
      const albedoG = (albedo[pixel * 3 + 1] ?? 0) / 255;
      const albedoB = (albedo[pixel * 3 + 2] ?? 0) / 255;
      const high = altitude[pixel] ?? 0;
      const through = away * (1 - 0.16 * Math.min(3, high));
      const veil = mist === 0 ? 0 : 1 - Math.exp(-mist * away * Math.exp(-high / 0.11));
      const leftR = Math.exp(-takesR * through) * (1 - veil);
      const leftG = Math.exp(-takesG * through) * (1 - veil);
      const leftB = Math.exp(-takesB * through) * (1 - veil);
      const far = column * 3;
      const red = albedoR * (keyR * lit + skyR * sky) * leftR + (horizon[far] ?? 0) * (1 - leftR) * 0.9;
      const green = albedoG * (keyG * lit + skyG * sky) * leftG + (horizon[far + 1] ?? 0) * (1 - leftG) * 0.9;
      const blue = albedoB * (keyB * lit + skyB * sky) * leftB + (horizon[far + 2] ?? 0) * (1 - leftB) * 0.9;
      const cover = Math.min(1, row + 1 - (skyline[column] ?? 0));
      if (cover >= 1) {
        into[pixel * 3] = red;
        into[pixel * 3 + 1] = green;
        into[pixel * 3 + 2] = blue;
      } else {
        into[pixel * 3] = red * cover + (into[pixel * 3] ?? 0) * (1 - cover);
        into[pixel * 3 + 1] = green * cover + (into[pixel * 3 + 1] ?? 0) * (1 - cover);
        into[pixel * 3 + 2] = blue * cover + (into[pixel * 3 + 2] ?? 0) * (1 - cover);
      }
    }
  }

  /** The land is far away, so each row of water mirrors the row at the same distance above the horizon. */
  #waterRow(into: Float32Array, row: number, { ambient, hours, weather }: Lighting, horizon: Float32Array): void {
    const { lens, distance, water } = this.#geometry;
    const { width, focal } = lens;
    const down = row + 0.5 - lens.horizon;
    const wind = 0.25 + Math.min(1, weather.windMs / 9);
    const time = hours * 900;
    for (let column = 0; column < width; column++) {
      const pixel = row * width + column;
      if (water[pixel] !== 1) continue;
      const z = distance[pixel] ?? 0;
      const x = ((column - width / 2) / focal) * z;
      const near = Math.min(1, 0.7 / (z + 0.12));
      const swell =
        this.#ripples.at(x * 90 + time * 0.13, z * 150 + time * 0.2) +
        0.7 * this.#ripples.at(x * 260 - time * 0.3, z * 390);
      const breeze = smoothstep(
        -0.05,
        0.45,
        this.#ripples.at(x * 1.3 + time * 0.01, z * 4.1 - time * 0.008) + 0.3 * wind - 0.2,
      );
      const tilt = swell * (0.018 + 0.2 * breeze * wind) * near;
      const lift = down * (1 + tilt) + Math.abs(tilt) * 14 + breeze * wind * 7 * near;
      const fromRow = Math.max(0, Math.min(row - 1, Math.round(lens.horizon - lift)));
      const fromColumn = Math.max(0, Math.min(width - 1, Math.round(column + tilt * 12)));
      const from = (fromRow * width + fromColumn) * 3;
      const angle = down / focal;
      const mirror = 0.06 + 0.86 * (1 - angle) ** 4 - 0.12 * breeze * wind;
      const veil = 1 - Math.exp(-0.014 * z);
      for (let band = 0; band < 3; band++) {
        const seen = (into[from + band] ?? 0) * mirror + (WATER[band] ?? 0) * (ambient[band] ?? 0);
        into[pixel * 3 + band] = seen * (1 - veil) + (horizon[column * 3 + band] ?? 0) * veil * 0.8;
      }
    }
  }
}

/** Extinction by mist per kilometre: on humid mornings and evenings without wind. */
function mistOf({ sun, weather }: Lighting): number {
  const hour = smoothstep(-0.25, 0, sun.y) * smoothstep(0.35, 0.05, sun.y);
  return 0.5 * hour * smoothstep(0.5, 0.85, weather.humidity) * smoothstep(6, 2, weather.windMs);
}
