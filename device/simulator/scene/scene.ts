import type { CameraSettings } from "../../../contract/events.ts";
import type { Location } from "../../../contract/schedule/sun.ts";
import { weatherAt } from "../weather.ts";
import type { Light } from "./atmosphere.ts";
import { develop } from "./develop.ts";
import { renderGeometry } from "./geometry-buffer.ts";
import { Land } from "./land.ts";
import { createLens, pixelOf } from "./lens.ts";
import { lightingAt } from "./lighting.ts";
import { Sky } from "./sky.ts";
import { createTerrain } from "./terrain.ts";

export type Scene = Awaited<ReturnType<typeof createScene>>;

/** Computes the geometry of a mountain once, and its light for every picture. Every seed gives another mountain. */
export async function createScene(seed: number, width: number, height: number, signal: AbortSignal) {
  const terrain = createTerrain(seed);
  const lens = createLens(width, height, terrain.facing);
  const geometry = await renderGeometry(lens, terrain, seed, signal);
  const sky = new Sky(geometry, seed);
  const land = new Land(geometry, seed);
  const light = new Float32Array(width * height * 3);
  let frame = 0;
  return { picture };

  /** Call it for one picture at a time: all share one buffer. */
  async function picture(at: Date, location: Location, settings: CameraSettings, signal: AbortSignal) {
    const lighting = lightingAt(at, location, lens, weatherAt(at, location, seed));
    const { sunSeen } = await sky.paint(light, lighting, at, location, signal);
    await land.paint(light, lighting, sky.horizon, signal);
    const sun = sunSeen > 0 ? pixelOf(lens, lighting.sun) : undefined;
    const strength = lighting.atmosphere.transmitted(2, lighting.sun.y).map((part) => part * sunSeen * 0.35);
    const glare = sun === undefined ? undefined : { ...sun, strength: toLight(strength) };
    return develop(light, lens, settings, glare, (seed + ++frame) >>> 0);
  }
}

function toLight([red = 0, green = 0, blue = 0]: number[]): Light {
  return [red, green, blue];
}
