import type { WantedSettings } from "../../contract/commands.ts";
import type { AdjustableSettings, CameraSettings, Environment, Power, Storage } from "../../contract/events.ts";

export interface Frame {
  jpeg: Buffer;
  width: number;
  height: number;
  settings: CameraSettings;
}

export interface FoundPicture extends Frame {
  /** Identifies the picture, also after a restart. */
  name: string;
  takenAt: Date;
}

export interface Readings {
  storage?: Storage;
  power?: Power;
  weather?: Pick<Environment, "temperature_c" | "humidity_percent" | "cloud_percent" | "wind_ms">;
}

export interface PictureSink {
  /** Whether a picture of this name was ever stored. */
  has(name: string): boolean;
  store(picture: FoundPicture): Promise<void>;
  keepOnly(names: ReadonlySet<string>): Promise<void>;
  /** Reports a failure to the operator. Call it once for each reason. */
  fail(reason: string): void;
}

/** The agent calls {@link CameraDriver.capture} for one picture at a time. */
export interface CameraDriver {
  readonly about: { model: string; firmware: string };
  /** The settings that {@link CameraDriver.capture} honours, with their values. Default: none. */
  readonly adjustable?: AdjustableSettings;
  /**
   * @param settings the camera chooses every setting that is absent or `null` (reset)
   * @param at the time of the picture, by the agent's clock
   * @throws Error with a message for the operator; the agent continues with the next picture
   */
  capture(settings: WantedSettings, at: Date): Promise<Frame>;
  /** Watches for pictures. Only on a camera that takes pictures by itself and ignores the schedule. */
  watch?(sink: PictureSink): void;
  readings?(at: Date): Readings;
  stop?(): Promise<void>;
}
