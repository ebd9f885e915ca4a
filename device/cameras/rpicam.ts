import type { AdjustableSettings, CameraSettings } from "../../contract/events.ts";
import { ProgramError, type ProgramOptions, runProgram } from "../host/run-program.ts";
import type { CameraDriver } from "./camera-driver.ts";
import { explicitSettings } from "./explicit-settings.ts";
import { measureJpeg } from "./jpeg.ts";
import { programCamera } from "./program-camera.ts";

/** The second name is that of Raspberry Pi OS before 2023. */
const PROGRAMS = ["rpicam-still", "libcamera-still"] as const;
/** The time that automatic exposure and white balance need to settle. */
const SETTLE_MS = 2000;
const DEFAULT_QUALITY = 93;
/** With a long exposure the camera takes two frames before the picture. */
const EXPOSURES_PER_PICTURE = 3;

/** What rpicam-still takes, whichever sensor: the sensor's driver limits an exposure or a gain that it does not offer. */
const ADJUSTABLE: AdjustableSettings = {
  exposure_s: { min: 0.0001, max: 600 },
  iso: { values: [100, 200, 400, 800, 1600] },
  exposure_compensation: { min: -5, max: 5, step: 0.5 },
  white_balance: { values: ["auto", "daylight", "cloudy", "tungsten", "fluorescent"] },
  quality: { min: 1, max: 100, step: 1 },
  hdr: { values: [true, false] },
};

export interface RpicamOptions {
  /** How long a picture may take, not counting its exposure. */
  timeoutMs: number;
  /** Further arguments, such as `--vflip`. Default: none. */
  args?: readonly string[];
  model?: string;
  killAfterMs?: number;
}

export function createRpicam(options: RpicamOptions): CameraDriver {
  const { timeoutMs, args = [], model = "Raspberry Pi camera", killAfterMs } = options;
  const stopped = new AbortController();
  return programCamera({ about: { model, firmware: PROGRAMS[0] }, adjustable: ADJUSTABLE }, stopped, async (wanted) => {
    // Every run starts with automatic settings, so a reset needs no argument.
    const settings = explicitSettings(wanted);
    const exposureMs = (settings.exposure_s ?? 0) * 1000 * EXPOSURES_PER_PICTURE;
    const jpeg = await runEither({
      args: [...argumentsFor(settings), ...args],
      timeoutMs: timeoutMs + exposureMs,
      signal: stopped.signal,
      ...(killAfterMs === undefined ? {} : { killAfterMs }),
    });
    const size = measureJpeg(jpeg, PROGRAMS[0]);
    return { jpeg, ...size, settings: { ...settings, quality: settings.quality ?? DEFAULT_QUALITY } };
  });
}

async function runEither(run: Omit<ProgramOptions, "command">): Promise<Buffer> {
  for (const command of PROGRAMS) {
    try {
      return await runProgram({ ...run, command });
    } catch (error) {
      if (!(error instanceof ProgramError)) throw error;
      if (error.failure === "missing") continue;
      if (/no cameras? available/i.test(error.stderr))
        throw new Error(
          `${command} found no camera: check the ribbon cable, and that no other program uses the camera`,
        );
      throw error;
    }
  }
  throw new Error(`${PROGRAMS[0]} is not installed, or not in PATH: sudo apt install rpicam-apps`);
}

function argumentsFor(settings: CameraSettings): string[] {
  const { exposure_s, iso, exposure_compensation, white_balance, quality = DEFAULT_QUALITY, hdr } = settings;
  const isManual = exposure_s !== undefined && iso !== undefined;
  const args = ["--nopreview", "--encoding", "jpg", "--quality", String(quality), "--output", "-"];
  if (isManual) args.push("--immediate");
  else args.push("--timeout", String(SETTLE_MS));
  if (exposure_s !== undefined) args.push("--shutter", String(Math.round(exposure_s * 1_000_000)));
  if (iso !== undefined) args.push("--gain", String(iso / 100));
  if (exposure_compensation !== undefined) args.push("--ev", String(exposure_compensation));
  // The contract uses the same names of white balances as rpicam-still.
  if (white_balance !== undefined) args.push("--awb", white_balance);
  if (hdr !== undefined) args.push("--hdr", hdr ? "auto" : "off");
  return args;
}
