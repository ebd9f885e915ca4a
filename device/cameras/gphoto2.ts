import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WantedSettings } from "../../contract/commands.ts";
import type { AdjustableSettings } from "../../contract/events.ts";
import { ProgramError, runProgram } from "../host/run-program.ts";
import type { CameraDriver, Frame } from "./camera-driver.ts";
import { explicitSettings } from "./explicit-settings.ts";
import { choose, namesOf, readChoices } from "./gphoto2-settings.ts";
import { measureJpeg } from "./jpeg.ts";
import { programCamera } from "./program-camera.ts";

const PROGRAM = "gphoto2";

const LACKS_SETTING = "found a camera without one of the settings";

const KNOWN_ERRORS: readonly [pattern: RegExp, meaning: string][] = [
  [/no camera found|could not detect any camera/i, "found no camera: is it switched on, and is its cable plugged in?"],
  [
    /could not claim the usb device/i,
    "cannot use the camera, because another program uses it: on a desktop, gvfs-gphoto2-volume-monitor",
  ],
  [/out of focus|autofocus/i, "could not focus: set the lens to manual focus"],
  [/not found in configuration tree/i, `${LACKS_SETTING}: it cannot be set by command`],
];

/** The values that a camera offers depend on its mode and lens, so these are ranges: the nearest offered value is taken. */
const ADJUSTABLE: AdjustableSettings = {
  exposure_s: { min: 0.0001, max: 600 },
  iso: { min: 50, max: 102_400, step: 1 },
  exposure_compensation: { min: -5, max: 5 },
  white_balance: { values: ["auto", "daylight", "cloudy", "tungsten", "fluorescent"] },
};

export interface Gphoto2Options {
  /** How long a picture may take, not counting its exposure. */
  timeoutMs: number;
  /** Further arguments, such as `--port=usb:001,004`. Default: none. */
  args?: readonly string[];
  model?: string;
  killAfterMs?: number;
}

/** A camera on a USB cable. Quality and HDR are set at the camera itself. */
export function createGphoto2(options: Gphoto2Options): CameraDriver {
  const { timeoutMs, args = [], model = "Camera", killAfterMs } = options;
  /** Settings that were reset since the start. The camera itself remembers a reset. */
  const reset = new Set<string>();
  const stopped = new AbortController();
  return programCamera({ about: { model, firmware: PROGRAM }, adjustable: ADJUSTABLE }, stopped, take);

  async function take(wanted: WantedSettings): Promise<Frame> {
    const explicit = namesOf(explicitSettings(wanted));
    for (const name of explicit) reset.delete(name);
    const choices = await offeredChoices(explicit);
    for (const name of namesOf(wanted)) {
      if (explicit.includes(name) || reset.has(name)) continue;
      choices.set(name, await offeredIfKnown(name));
    }
    const { assignments, settings } = choose(wanted, choices);
    const folder = await mkdtemp(join(tmpdir(), "skylapse-gphoto2-"));
    try {
      const set = assignments.flatMap((assignment) => ["--set-config-value", assignment]);
      const target = ["--filename", join(folder, "picture.%C"), "--force-overwrite"];
      await run([...set, "--capture-image-and-download", ...target], (wanted.exposure_s ?? 0) * 1000);
      for (const name of namesOf(wanted)) if (!explicit.includes(name)) reset.add(name);
      const jpeg = await pictureIn(folder);
      return { jpeg, ...measureJpeg(jpeg, PROGRAM), settings };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Read before every picture: the offered values depend on the lens and the camera's mode. */
  async function offeredChoices(names: readonly string[]): Promise<Map<string, string[]>> {
    if (names.length === 0) return new Map();
    const output = await run(names.flatMap((name) => ["--get-config", name]));
    return readChoices(output.toString(), names);
  }

  /** The values offered for a reset; none when the camera lacks the setting. */
  async function offeredIfKnown(name: string): Promise<string[]> {
    try {
      return (await offeredChoices([name])).get(name) ?? [];
    } catch (error) {
      if (error instanceof Error && error.message.includes(LACKS_SETTING)) return [];
      throw error;
    }
  }

  async function run(command: readonly string[], exposureMs = 0): Promise<Buffer> {
    try {
      return await runProgram({
        command: PROGRAM,
        args: ["--quiet", ...args, ...command],
        timeoutMs: timeoutMs + exposureMs,
        signal: stopped.signal,
        ...(killAfterMs === undefined ? {} : { killAfterMs }),
      });
    } catch (error) {
      throw error instanceof ProgramError ? explained(error) : error;
    }
  }
}

/** A camera set to raw and JPEG delivers two files. */
async function pictureIn(folder: string): Promise<Buffer> {
  const names = await readdir(folder);
  const name = names.find((candidate) => /\.jpe?g$/i.test(candidate)) ?? names[0];
  if (name === undefined) throw new Error(`${PROGRAM} succeeded but delivered no picture`);
  return readFile(join(folder, name));
}

function explained(error: ProgramError): Error {
  if (error.failure === "missing") return new Error(`${error.message}: sudo apt install gphoto2`);
  const [, meaning] = KNOWN_ERRORS.find(([pattern]) => pattern.test(error.stderr)) ?? [];
  return meaning === undefined ? error : new Error(`${PROGRAM} ${meaning}`);
}
