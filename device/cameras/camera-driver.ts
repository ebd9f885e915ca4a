import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraSettings, Environment, Power, Storage } from "../../contract/events.ts";

/** A picture, and the settings it was really taken with. */
export interface Frame {
  jpeg: Buffer;
  width: number;
  height: number;
  settings: CameraSettings;
}

/** A picture that was not asked for. */
export interface FoundPicture extends Frame {
  /** Names it for good: the same picture has it at every start. */
  name: string;
  takenAt: Date;
}

/** What a camera can tell of its surroundings; what it cannot is left out. */
export interface Readings {
  storage?: Storage;
  power?: Power;
  weather?: Pick<Environment, "temperature_c" | "humidity_percent" | "cloud_percent" | "wind_ms">;
}

/** Who wants the pictures of a camera that takes them by itself. */
export interface PictureTaker {
  /** Whether a picture of that name was taken over, in this run or an earlier one. */
  knows(name: string): boolean;
  /** Resolves when the picture is kept and its name with it. */
  take(picture: FoundPicture): Promise<void>;
  /** These are all there are: other names need not be known any more. */
  remember(names: ReadonlySet<string>): Promise<void>;
  /** It does not work, for a reason an operator is to know; said once for each reason. */
  fail(reason: string): void;
}

/** A camera, whatever it is made of. The agent calls {@link CameraDriver.capture} for one picture at a time. */
export interface CameraDriver {
  readonly about: { model: string; firmware: string };
  /**
   * @param settings what was asked for; what is absent or taken back (`null`) the camera chooses
   * @param at when the picture is taken, by the agent's clock
   * @throws Error with a message for the operator; the agent goes on with the next picture
   */
  capture(settings: WantedSettings, at: Date): Promise<Frame>;
  /** Of a camera that takes its pictures by itself, and follows no schedule. Default: it takes them when asked to. */
  follow?(taker: PictureTaker): void;
  /** Default: the camera measures nothing. */
  readings?(at: Date): Readings;
  /** Ends what is running and gives the hardware back. */
  stop?(): Promise<void>;
}
