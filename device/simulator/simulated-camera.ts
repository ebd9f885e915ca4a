import sharp from "sharp";
import type { WantedSettings } from "../../contract/commands.ts";
import type { AdjustableSettings, CameraSettings, Storage } from "../../contract/events.ts";
import type { Location } from "../../contract/schedule/sun.ts";
import type { CameraDriver, Frame, Readings } from "../cameras/camera-driver.ts";
import { explicitSettings } from "../cameras/explicit-settings.ts";
import { seedOf, smoothNoise } from "./scene/noise.ts";
import { createScene, type Scene } from "./scene/scene.ts";
import { weatherAt } from "./weather.ts";

const DEFAULT_WIDTH = 1280;
const DEFAULT_QUALITY = 88;
const CARD_BYTES = 64_000_000_000;

export interface SimulatedCameraOptions {
  location: Location;
  seed?: string;
  width?: number;
  height?: number;
}

/** Takes pictures of an invented mountain in the real light of a location and time. */
export class SimulatedCamera implements CameraDriver {
  readonly about = { model: "Simulated mountain camera", firmware: "1.0" };
  readonly adjustable: AdjustableSettings = {
    exposure_s: { min: 1 / 8000, max: 30 },
    iso: { values: [100, 200, 400, 800, 1600, 3200] },
    exposure_compensation: { min: -3, max: 3, step: 0.5 },
    white_balance: { values: ["auto", "daylight", "cloudy", "tungsten", "fluorescent"] },
    quality: { min: 20, max: 100, step: 1 },
    hdr: { values: [true, false] },
  };
  readonly #location: Location;
  readonly #seed: number;
  readonly #width: number;
  readonly #height: number;
  /** Created at the first picture: it takes one or two seconds. */
  #scene: Promise<Scene> | undefined;
  readonly #stopped = new AbortController();
  #usedBytes: number;

  constructor({ location, seed, width = DEFAULT_WIDTH, height = Math.round(width * 0.75) }: SimulatedCameraOptions) {
    this.#location = location;
    this.#seed = seedOf(seed ?? `${location.lat},${location.lon}`);
    this.#width = width;
    this.#height = height;
    this.#usedBytes = Math.round(CARD_BYTES * (0.2 + (0.3 * (this.#seed % 1000)) / 1000));
  }

  async capture(wanted: WantedSettings, at: Date): Promise<Frame> {
    const settings = explicitSettings(wanted);
    this.#scene ??= createScene(this.#seed, this.#width, this.#height, this.#stopped.signal);
    const scene = await this.#scene;
    const { pixels, metered } = await scene.picture(at, this.#location, settings, this.#stopped.signal);
    const quality = settings.quality ?? DEFAULT_QUALITY;
    const raw = { width: this.#width, height: this.#height, channels: 3 } as const;
    const jpeg = await sharp(pixels, { raw }).jpeg({ quality, chromaSubsampling: "4:2:0" }).toBuffer();
    this.#usedBytes = Math.min(CARD_BYTES, this.#usedBytes + jpeg.length);
    return {
      jpeg,
      width: this.#width,
      height: this.#height,
      settings: { ...automaticSettings(metered), ...settings, quality },
    };
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new Error("the camera was stopped"));
  }

  readings(at: Date): Readings {
    const { temperatureC, humidity, cloud, windMs } = weatherAt(at, this.#location, this.#seed);
    const storage: Storage = { total_bytes: CARD_BYTES, free_bytes: CARD_BYTES - this.#usedBytes };
    const charge = 78 + 14 * smoothNoise(at.getTime() / 14_400_000, this.#seed + 17);
    return {
      storage,
      power: { source: "solar", battery_percent: Math.round(Math.min(100, charge)) },
      weather: {
        temperature_c: round(temperatureC),
        humidity_percent: Math.round(humidity * 100),
        cloud_percent: Math.round(cloud * 100),
        wind_ms: round(windMs),
      },
    };
  }
}

/** Chooses 1/2,000 s at ISO 100 for snow at noon, and more exposure for less light. */
function automaticSettings(metered: number): CameraSettings {
  const needed = 0.06 / metered / 2000;
  const iso = needed < 1 / 30 ? 100 : needed < 4 ? 400 : 1600;
  const exposure = Math.min(25, Math.max(1 / 8000, (needed * 100) / iso));
  return { exposure_s: Number(exposure.toPrecision(2)), iso, white_balance: "auto" };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
