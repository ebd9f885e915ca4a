import type { CameraSettings, Environment, Power, Storage } from "../../contract/events.ts";

/** A picture, and the settings it was really taken with. */
export interface Frame {
  jpeg: Buffer;
  width: number;
  height: number;
  settings: CameraSettings;
}

/** What a camera can tell of its surroundings; what it cannot is left out. */
export interface Readings {
  storage?: Storage;
  power?: Power;
  weather?: Pick<Environment, "temperature_c" | "humidity_percent" | "cloud_percent" | "wind_ms">;
}

/** A camera, whatever it is made of. The agent calls {@link CameraDriver.capture} for one picture at a time. */
export interface CameraDriver {
  readonly about: { model: string; firmware: string };
  /**
   * @param settings what was asked for; what is absent the camera chooses
   * @param at when the picture is taken, by the agent's clock
   * @throws Error with a message for the operator; the agent goes on with the next picture
   */
  capture(settings: CameraSettings, at: Date): Promise<Frame>;
  /** Default: the camera measures nothing. */
  readings?(at: Date): Readings;
  /** Ends what is running and gives the hardware back. */
  stop?(): Promise<void>;
}
