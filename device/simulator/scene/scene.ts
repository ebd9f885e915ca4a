import type { CameraSettings } from "../../../contract/events.ts";
import type { Location } from "../../capture/sun.ts";
import { weatherAt } from "../weather.ts";
import type { Light } from "./atmosphere.ts";
import { develop } from "./develop.ts";
import { renderGeometry } from "./geometry-buffer.ts";
import { Land } from "./land.ts";
import { createLens, type Lens, pixelOf } from "./lens.ts";
import { lightingAt } from "./lighting.ts";
import { Sky } from "./sky.ts";
import { createTerrain } from "./terrain.ts";

export class Scene {
  readonly #lens: Lens;
  readonly #sky: Sky;
  readonly #land: Land;
  readonly #seed: number;
  readonly #light: Float32Array;
  #frame = 0;

  private constructor(lens: Lens, sky: Sky, land: Land, seed: number) {
    this.#lens = lens;
    this.#sky = sky;
    this.#land = land;
    this.#seed = seed;
    this.#light = new Float32Array(lens.width * lens.height * 3);
  }

  static async create(seed: number, width: number, height: number, signal: AbortSignal): Promise<Scene> {
    const terrain = createTerrain(seed);
    const lens = createLens(width, height, terrain.facing);
    const geometry = await renderGeometry(lens, terrain, seed, signal);
    return new Scene(lens, new Sky(geometry, seed), new Land(geometry, seed), seed);
  }

  /** Call it for one picture at a time: all share one buffer. */
  async picture(
    at: Date,
    location: Location,
    settings: CameraSettings,
    signal: AbortSignal,
  ): Promise<ReturnType<typeof develop>> {
    const lighting = lightingAt(at, location, this.#lens, weatherAt(at, location, this.#seed));
    const { sunSeen } = await this.#sky.paint(this.#light, lighting, at, location, signal);
    await this.#land.paint(this.#light, lighting, this.#sky.horizon, signal);
    const sun = sunSeen > 0 ? pixelOf(this.#lens, lighting.sun) : undefined;
    const strength = lighting.atmosphere.transmitted(2, lighting.sun.y).map((light) => light * sunSeen * 0.35);
    const glare = sun === undefined ? undefined : { ...sun, strength: toLight(strength) };
    return develop(this.#light, this.#lens, settings, glare, (this.#seed + ++this.#frame) >>> 0);
  }
}

function toLight([red = 0, green = 0, blue = 0]: number[]): Light {
  return [red, green, blue];
}
