import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraSettings, Environment, Power, Storage } from "../../contract/events.ts";

/** A picture, and the settings that it was really taken with. */
export interface Frame {
  jpeg: Buffer;
  width: number;
  height: number;
  settings: CameraSettings;
}

/** A picture that another program took. */
export interface FoundPicture extends Frame {
  /** Identifies the picture, by the same name at every start. */
  name: string;
  takenAt: Date;
}

/** What a camera can measure. A value that it cannot measure is absent. */
export interface Readings {
  storage?: Storage;
  power?: Power;
  weather?: Pick<Environment, "temperature_c" | "humidity_percent" | "cloud_percent" | "wind_ms">;
}

/** Receives the pictures of a camera that takes them by itself. */
export interface PictureSink {
  /** Whether a picture with this name was stored, in this run or an earlier one. */
  has(name: string): boolean;
  /** Resolves when the picture and its name are stored. */
  store(picture: FoundPicture): Promise<void>;
  /** Deletes all stored names that are not in the set. */
  keepOnly(names: ReadonlySet<string>): Promise<void>;
  /** Reports a failure that the operator should know of. Call it once for each reason. */
  fail(reason: string): void;
}

/** A camera of any kind. The agent calls {@link CameraDriver.capture} for one picture at a time. */
export interface CameraDriver {
  readonly about: { model: string; firmware: string };
  /**
   * Takes a picture.
   * @param settings the requested settings; the camera chooses those that are absent or `null` (reset)
   * @param at the time of the picture, by the agent's clock
   * @throws Error with a message for the operator; the agent continues with the next picture
   */
  capture(settings: WantedSettings, at: Date): Promise<Frame>;
  /** Starts watching for pictures. Present only on a camera that takes pictures by itself and ignores the schedule. */
  watch?(sink: PictureSink): void;
  /** Present only on a camera that can measure something. */
  readings?(at: Date): Readings;
  /** Stops what is running and releases the hardware. */
  stop?(): Promise<void>;
}
