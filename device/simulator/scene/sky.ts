import type { Location } from "../../../contract/schedule/sun.ts";
import { hazePhase, type Light } from "./atmosphere.ts";
import { CLOUD_BLOCK, CloudLayer, type Clouds, silverLining } from "./clouds.ts";
import type { GeometryBuffer } from "./geometry-buffer.ts";
import { pixelOf, type Vector } from "./lens.ts";
import { cosine, type Lighting, skyLight } from "./lighting.ts";
import { between, smoothstep } from "./noise.ts";
import { StarrySky } from "./stars.ts";
import { yieldToEventLoop } from "./yield-to-event-loop.ts";

const TABLE = { columns: 24, rows: 28 };
const FLOATS = 6;
/** Angular radii, radians. In pictures, a moon of real size looks too small. */
const SUN_RADIUS = 0.0052;
const MOON_RADIUS = 0.0075;
const SUN_LIGHT = 60;
const MOON_LIGHT = 9e-5;
const MILKY_WAY = 5.5e-7;

export class Sky {
  readonly #geometry: GeometryBuffer;
  readonly #clouds: CloudLayer;
  readonly #stars: StarrySky;
  readonly #lastRow: number;
  readonly #table = new Float32Array(TABLE.columns * TABLE.rows * FLOATS);
  /** By column: the colour of the sky at the horizon, which haze gives to the land. */
  readonly horizon: Float32Array;

  constructor(geometry: GeometryBuffer, seed: number) {
    this.#geometry = geometry;
    this.#clouds = new CloudLayer(geometry.lens, seed);
    this.#stars = new StarrySky(geometry.lens, seed);
    this.#lastRow = Math.min(geometry.lens.height, Math.ceil(Math.max(...geometry.skyline)) + 1);
    this.horizon = new Float32Array(geometry.lens.width * 3);
  }

  /** @param into unlimited red, green and blue light for every pixel */
  async paint(
    into: Float32Array,
    lighting: Lighting,
    at: Date,
    location: Location,
    signal: AbortSignal,
  ): Promise<{ sunSeen: number }> {
    this.#tabulate(lighting);
    await yieldToEventLoop(signal);
    const clouds = this.#clouds.at(lighting, this.#lastRow);
    await yieldToEventLoop(signal);
    const cloudColours = this.#cloudColours(lighting);
    const dark = smoothstep(-0.12, -0.26, lighting.sun.y);
    const milkyWay = dark > 0 ? this.#stars.milkyWay(at, location) : undefined;
    for (let row = 0; row < this.#lastRow; row++) {
      this.#row(into, row, lighting, clouds, cloudColours);
      if (milkyWay !== undefined) this.#addMilkyWay(into, row, clouds, milkyWay, dark);
      if (row % 96 === 0) await yieldToEventLoop(signal);
    }
    if (dark > 0) this.#addStars(into, clouds, at, location, dark);
    this.#addMoon(into, lighting, clouds);
    return { sunSeen: this.#addSun(into, lighting, clouds) };
  }

  #tabulate(lighting: Lighting): void {
    const { width } = this.#geometry.lens;
    for (let row = 0; row < TABLE.rows; row++) {
      for (let column = 0; column < TABLE.columns; column++) {
        const direction = this.#direction((column / (TABLE.columns - 1)) * width, this.#rowOf(row));
        const { air, haze } = skyLight(lighting, direction);
        this.#table.set([...air, ...haze], (row * TABLE.columns + column) * FLOATS);
      }
    }
    for (let column = 0; column < width; column++) {
      const { x, y, z } = this.#direction(column, this.#rowOf(TABLE.rows - 1));
      const phase = hazePhase(Math.min(0.97, cosine({ x, y, z }, lighting.sun)));
      const light = this.#lookup(column, TABLE.rows - 1.001, phase);
      // The mountains shade part of the haze: under a low sun, only the sky lights it.
      const open = 0.45 + 0.4 * smoothstep(0.05, 0.4, lighting.sun.y);
      for (let band = 0; band < 3; band++) {
        const shaded = ((lighting.ambient[band] ?? 0) / Math.PI) * 0.75;
        this.horizon[column * 3 + band] = shaded + ((light[band] ?? 0) - shaded) * open * 0.8;
      }
    }
  }

  /** Table rows are closest at the horizon, where the sky changes most. */
  #rowOf(tableRow: number): number {
    const part = tableRow / (TABLE.rows - 1);
    return this.#geometry.lens.horizon * (1 - (1 - part) ** 1.6) - 2;
  }

  #tableRowOf(row: number): number {
    const part = 1 - (1 - Math.min(1, Math.max(0, (row + 2) / this.#geometry.lens.horizon))) ** (1 / 1.6);
    return Math.min(TABLE.rows - 1.001, part * (TABLE.rows - 1));
  }

  #direction(column: number, row: number): Vector {
    const { width, focal, horizon } = this.#geometry.lens;
    const x = (column - width / 2) / focal;
    const y = (horizon - row) / focal;
    const length = Math.sqrt(x * x + y * y + 1);
    return { x: x / length, y: y / length, z: 1 / length };
  }

  #lookup(column: number, tableRow: number, phase: number): Light {
    const right = (column / this.#geometry.lens.width) * (TABLE.columns - 1.001);
    const column0 = Math.floor(right);
    const row0 = Math.floor(tableRow);
    const first = (row0 * TABLE.columns + column0) * FLOATS;
    const at = (index: number): number =>
      between(this.#table, first + index, TABLE.columns * FLOATS, right - column0, tableRow - row0, FLOATS);
    return [at(0) + phase * at(3), at(1) + phase * at(4), at(2) + phase * at(5)];
  }

  #cloudColours({ atmosphere, key, ambient, clear, weather }: Lighting): { sun: Light; shade: Light } {
    // After sunset in the valley, the sun still shines on the clouds.
    const strength = key.light[0] + key.light[1] + key.light[2] > 1e-3 || key.direction.y < -0.05 ? 1 : 0;
    const high = strength === 1 ? atmosphere.transmitted(7, key.direction.y + 0.02) : key.light;
    const grey = 0.3 - 0.12 * weather.cloud;
    const bright = 0.3 * (0.4 + 0.6 * clear);
    return {
      sun: [high[0] * bright, high[1] * bright, high[2] * bright],
      shade: [ambient[0] * grey, ambient[1] * grey * 0.98, ambient[2] * grey * 0.92],
    };
  }

  /** Allocates nothing: a picture has half a million pixels. */
  #row(
    into: Float32Array,
    row: number,
    { sun, key }: Lighting,
    clouds: Clouds,
    { sun: sunlit, shade }: { sun: Light; shade: Light },
  ): void {
    const { skyline, lens } = this.#geometry;
    const { width, focal, horizon } = lens;
    const light = key.direction;
    const table = this.#table;
    const tableRow = this.#tableRowOf(row);
    const row0 = Math.floor(tableRow);
    const down = tableRow - row0;
    const y = (horizon - row - 0.5) / focal;
    const near = smoothstep(0, 0.2, y) * 0.45 + 0.5;
    const blockRow = Math.floor(row / CLOUD_BLOCK) * clouds.columns;
    const blockY = (row % CLOUD_BLOCK) / CLOUD_BLOCK;
    for (let column = 0; column < width; column++) {
      if (row > (skyline[column] ?? 0) + 1) continue;
      const x = (column + 0.5 - width / 2) / focal;
      const length = Math.sqrt(x * x + y * y + 1);
      const phase = hazePhase((x * sun.x + y * sun.y + sun.z) / length);
      const right = (column / width) * (TABLE.columns - 1.001);
      const column0 = Math.floor(right);
      const part = right - column0;
      const topLeft = (row0 * TABLE.columns + column0) * FLOATS;
      const bottomLeft = topLeft + TABLE.columns * FLOATS;
      const block = blockRow + Math.floor(column / CLOUD_BLOCK);
      const blockX = (column % CLOUD_BLOCK) / CLOUD_BLOCK;
      const density = between(clouds.density, block, clouds.columns, blockX, blockY);
      const cover = density < 0.003 ? 0 : density * near;
      let lit = 0;
      if (cover > 0) {
        const towards = (x * light.x + y * light.y + light.z) / length;
        lit = between(clouds.lit, block, clouds.columns, blockX, blockY) * silverLining(towards);
      }
      const pixel = (row * width + column) * 3;
      for (let band = 0; band < 3; band++) {
        const index = topLeft + band;
        const under = bottomLeft + band;
        const top =
          ((table[index] ?? 0) + phase * (table[index + 3] ?? 0)) * (1 - part) +
          ((table[index + FLOATS] ?? 0) + phase * (table[index + FLOATS + 3] ?? 0)) * part;
        const bottom =
          ((table[under] ?? 0) + phase * (table[under + 3] ?? 0)) * (1 - part) +
          ((table[under + FLOATS] ?? 0) + phase * (table[under + FLOATS + 3] ?? 0)) * part;
        const blue = top + (bottom - top) * down;
        into[pixel + band] = blue * (1 - cover) + cover * ((sunlit[band] ?? 0) * lit + (shade[band] ?? 0));
      }
    }
  }

  #addMilkyWay(into: Float32Array, row: number, clouds: Clouds, glow: (towards: Vector) => number, dark: number): void {
    const { width } = this.#geometry.lens;
    const step = 2;
    for (let column = 0; column < width; column += step) {
      if (row > (this.#geometry.skyline[column] ?? 0) + 1) continue;
      const direction = this.#direction(column, row);
      const light =
        glow(direction) * MILKY_WAY * dark * this.#through(clouds, column, row) * smoothstep(0, 0.25, direction.y);
      for (let index = (row * width + column) * 3; index < (row * width + column + step) * 3; index += 3) {
        into[index] = (into[index] ?? 0) + light * 0.95;
        into[index + 1] = (into[index + 1] ?? 0) + light * 0.9;
        into[index + 2] = (into[index + 2] ?? 0) + light;
      }
    }
  }

  #addStars(into: Float32Array, clouds: Clouds, at: Date, location: Location, dark: number): void {
    // A star's spot has the same size in every resolution, so fewer pixels receive more light each.
    const gain = (this.#geometry.lens.width / 1280) ** 2;
    this.#stars.each(at, location, (column, row, light, warmth) => {
      const left = Math.floor(column - 0.5);
      const top = Math.floor(row - 0.5);
      for (let y = top; y <= top + 1; y++) {
        for (let x = left; x <= left + 1; x++) {
          const share = (1 - Math.abs(column - 0.5 - x)) * (1 - Math.abs(row - 0.5 - y));
          const amount = light * share * dark * gain * this.#through(clouds, x, y);
          this.#add(into, x, y, [amount * (0.75 + 0.5 * warmth), amount * 0.95, amount * (1.25 - 0.5 * warmth)]);
        }
      }
    });
  }

  #addMoon(into: Float32Array, { moon, sun, moonFraction }: Lighting, clouds: Clouds): void {
    const centre = moon.y > -0.02 ? pixelOf(this.#geometry.lens, moon) : undefined;
    if (centre === undefined) return;
    const radius = Math.max(2, MOON_RADIUS * this.#geometry.lens.focal);
    const flat = Math.hypot(sun.x - moon.x * 0.5, sun.y - moon.y * 0.5) || 1;
    const side = { x: (sun.x - moon.x * 0.5) / flat, y: -(sun.y - moon.y * 0.5) / flat };
    const phase = Math.acos(Math.max(-1, Math.min(1, 2 * moonFraction - 1)));
    this.#disc(centre, radius, (x, y, cover, column, row) => {
      const front = Math.sqrt(Math.max(0, 1 - x * x - y * y));
      const lit = smoothstep(-0.08, 0.12, (x * side.x + y * side.y) * Math.sin(phase) + front * Math.cos(phase));
      const seas = 0.86 + 0.14 * Math.sin(x * 5 + 2 * y) * Math.cos(y * 4 - x);
      const amount = MOON_LIGHT * (lit * seas + 0.004) * cover * this.#through(clouds, column, row);
      this.#add(into, column, row, [amount, amount * 0.97, amount * 0.9]);
    });
  }

  /** Returns the visible share of the sun: a hidden sun causes no glare. */
  #addSun(into: Float32Array, { sun, atmosphere, clear }: Lighting, clouds: Clouds): number {
    const centre = sun.y > -0.03 ? pixelOf(this.#geometry.lens, sun) : undefined;
    if (centre === undefined) return 0;
    const radius = Math.max(2, SUN_RADIUS * this.#geometry.lens.focal);
    const light = atmosphere.transmitted(2, sun.y);
    let seen = 0;
    let whole = 0;
    this.#disc(centre, radius, (x, y, cover, column, row) => {
      const edge = 0.55 + 0.45 * Math.sqrt(Math.max(0, 1 - x * x - y * y));
      const through = this.#through(clouds, column, row) ** 2 * (0.08 + 0.92 * clear) * cover;
      whole += cover;
      const land = this.#landCover(column, row);
      seen += through * (1 - land);
      const amount = SUN_LIGHT * edge * through;
      this.#add(into, column, row, [amount * light[0], amount * light[1], amount * light[2]]);
    });
    return whole > 0 ? seen / whole : 0;
  }

  #disc(
    centre: { column: number; row: number },
    radius: number,
    draw: (x: number, y: number, cover: number, column: number, row: number) => void,
  ): void {
    for (let row = Math.floor(centre.row - radius - 1); row <= centre.row + radius + 1; row++) {
      for (let column = Math.floor(centre.column - radius - 1); column <= centre.column + radius + 1; column++) {
        const x = (column + 0.5 - centre.column) / radius;
        const y = (row + 0.5 - centre.row) / radius;
        const cover = Math.max(0, Math.min(1, (1 - Math.hypot(x, y)) * radius + 0.5));
        if (cover > 0) draw(x, y, cover, column, row);
      }
    }
  }

  #landCover(column: number, row: number): number {
    const { width, height } = this.#geometry.lens;
    if (column < 0 || row < 0 || column >= width || row >= height) return 1;
    return row >= (this.#geometry.skyline[column] ?? 0) ? 1 : 0;
  }

  #through(clouds: Clouds, column: number, row: number): number {
    const block = Math.floor(row / CLOUD_BLOCK) * clouds.columns + Math.floor(column / CLOUD_BLOCK);
    return 1 - (clouds.density[block] ?? 0) * 0.97;
  }

  #add(into: Float32Array, column: number, row: number, light: Light): void {
    const { width } = this.#geometry.lens;
    if (column < 0 || column >= width || row < 0 || row > (this.#geometry.skyline[column] ?? 0) + 1) return;
    const pixel = (row * width + column) * 3;
    for (let band = 0; band < 3; band++) into[pixel + band] = (into[pixel + band] ?? 0) + (light[band] ?? 0);
  }
}
