import type { Logger } from "pino";
import type { Environment } from "../../contract/events.ts";
import { type Location, nextGoldenHour, sunPosition } from "../../contract/schedule/sun.ts";
import type { CameraDriver } from "../cameras/camera-driver.ts";
import type { DeviceClock } from "../host/clock.ts";
import type { Host, HostReadings } from "../host/host.ts";
import { DEFAULT_READINGS_MAX_AGE_S, DeadbandFilter, type StateReadings } from "./deadband-filter.ts";
import type { ThresholdAlerts } from "./threshold-alerts.ts";

export interface TelemetryOptions {
  intervalS: number;
  maxAgeS?: number | undefined;
  location: Location;
  camera: CameraDriver;
  /** The machine on which the camera runs, if the camera publishes its readings. Default: none. */
  host?: Host | undefined;
  clock: DeviceClock;
  alerts: ThresholdAlerts;
  diskFailure: () => string | undefined;
  isAsleep: () => boolean;
  publish: (name: keyof StateReadings, event: string, reading: StateReadings[keyof StateReadings]) => void;
  onClockSet: () => void;
  logger: Logger;
}

export class Telemetry {
  readonly #options: TelemetryOptions;
  readonly #filter: DeadbandFilter;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: TelemetryOptions) {
    this.#options = options;
    this.#filter = new DeadbandFilter((options.maxAgeS ?? DEFAULT_READINGS_MAX_AGE_S) * 1000);
  }

  start(): void {
    this.#timer = setInterval(() => void this.measure(), this.#options.intervalS * 1000);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Publishes all readings: the broker may have lost the retained ones. */
  publishAll(): void {
    this.#filter.clear();
    void this.measure();
  }

  async measure(): Promise<void> {
    const { camera, clock, host, alerts, diskFailure, isAsleep, location, onClockSet, logger } = this.#options;
    const jumpMs = clock.takeJump();
    if (jumpMs !== 0) {
      logger.info({ jumpMs }, "clock was set");
      onClockSet();
    }
    // Publish nothing during a sleep: everything is published again after it.
    if (isAsleep()) return;
    const at = clock.now();
    const ofHost: Partial<HostReadings> = (await host?.read()) ?? {};
    const ofCamera = camera.readings?.(at) ?? {};
    const storage = ofCamera.storage ?? ofHost.storage;
    const power = ofCamera.power ?? ofHost.power;
    this.#publish("environment", environmentAt(at, location, ofCamera.weather));
    const failure = diskFailure();
    const unwritable = failure === undefined ? {} : { unwritable: failure };
    if (storage !== undefined) this.#publish("storage", { ...alerts.storage(storage), ...unwritable });
    if (power !== undefined) this.#publish("power", power);
    if (ofHost.resources !== undefined) {
      alerts.resources(ofHost.resources);
      this.#publish("resources", ofHost.resources);
    }
  }

  #publish<Name extends keyof StateReadings>(name: Name, reading: StateReadings[Name]): void {
    if (!this.#filter.passes(name, reading)) return;
    this.#options.publish(name, name === "environment" ? "environmental.update" : "resource.update", reading);
  }
}

function environmentAt(at: Date, location: Location, weather: Partial<Environment> | undefined): Environment {
  const { elevation, azimuth } = sunPosition(at, location);
  const golden = nextGoldenHour(at, location);
  return {
    ...weather,
    sun_elevation: Math.round(elevation * 100) / 100,
    sun_azimuth: Math.round(azimuth * 100) / 100,
    ...(golden === undefined ? {} : { next_golden_hour: golden.toISOString() }),
  };
}
