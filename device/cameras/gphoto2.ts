import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WantedSettings } from "../../contract/commands.ts";
import { ProgramError, runProgram } from "../host/run-program.ts";
import type { CameraDriver, Frame } from "./camera-driver.ts";
import { explicitSettings } from "./explicit-settings.ts";
import { choose, namesOf, readChoices } from "./gphoto2-settings.ts";
import { measureJpeg } from "./jpeg.ts";

const PROGRAM = "gphoto2";

const LACKS_SETTING = "found a camera that lacks one of the settings";

/** What gphoto2 complains of, and what to do about it. */
const TROUBLES: readonly [said: RegExp, meaning: string][] = [
  [/no camera found|could not detect any camera/i, "found no camera: is it switched on, and its cable plugged in?"],
  [
    /could not claim the usb device/i,
    "cannot use the camera, another program has it: on a desktop, gvfs-gphoto2-volume-monitor",
  ],
  [/out of focus|autofocus/i, "could not focus: set the lens to manual focus"],
  [/not found in configuration tree/i, `${LACKS_SETTING}: it cannot be set so`],
];

export interface Gphoto2Options {
  /** What a picture may take beyond its exposure, milliseconds. */
  timeoutMs: number;
  /** Further arguments for gphoto2, such as `--port=usb:001,004`. Default: none. */
  args?: readonly string[];
  /** What people call the camera. Default `Camera`. */
  model?: string;
  killAfterMs?: number;
}

/** A camera at a USB cable, by `gphoto2`. Quality and HDR are set at the camera itself. */
export function createGphoto2(options: Gphoto2Options): CameraDriver {
  const { timeoutMs, args = [], model = "Camera", killAfterMs } = options;
  const stopped = new AbortController();
  let taking: Promise<unknown> | undefined;
  /** Settings that were taken back and set to automatic since the start: the camera keeps that by itself. */
  const released = new Set<string>();
  return {
    about: { model, firmware: PROGRAM },
    capture(settings) {
      const frame = take(settings);
      // That it ends, not what it gives: the picture would stay in memory until the next one.
      taking = frame.then(
        () => {},
        () => {},
      );
      return frame;
    },
    async stop() {
      stopped.abort();
      // The program has the camera until it is gone.
      await taking;
    },
  };

  async function take(wanted: WantedSettings): Promise<Frame> {
    const given = namesOf(explicitSettings(wanted));
    for (const name of given) released.delete(name);
    const choices = await offered(given);
    for (const name of namesOf(wanted)) {
      if (given.includes(name) || released.has(name)) continue;
      choices.set(name, await offeredIfKnown(name));
    }
    const { assignments, settings } = choose(wanted, choices);
    const folder = await mkdtemp(join(tmpdir(), "skylapse-gphoto2-"));
    try {
      const set = assignments.flatMap((assignment) => ["--set-config-value", assignment]);
      const target = ["--filename", join(folder, "picture.%C"), "--force-overwrite"];
      await run([...set, "--capture-image-and-download", ...target], (wanted.exposure_s ?? 0) * 1000);
      for (const name of namesOf(wanted)) if (!given.includes(name)) released.add(name);
      const jpeg = await pictureIn(folder);
      return { jpeg, ...measureJpeg(jpeg, PROGRAM), settings };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Asked before every picture: it depends on the lens, and on the mode that the camera is switched to. */
  async function offered(names: readonly string[]): Promise<Map<string, string[]>> {
    if (names.length === 0) return new Map();
    const output = await run(names.flatMap((name) => ["--get-config", name]));
    return readChoices(output.toString(), names);
  }

  /** @returns nothing of a setting that the camera lacks: there is nothing to take back */
  async function offeredIfKnown(name: string): Promise<string[]> {
    try {
      return (await offered([name])).get(name) ?? [];
    } catch (error) {
      if (error instanceof Error && error.message.includes(LACKS_SETTING)) return [];
      throw error;
    }
  }

  async function run(all: readonly string[], exposureMs = 0): Promise<Buffer> {
    try {
      return await runProgram({
        command: PROGRAM,
        args: ["--quiet", ...args, ...all],
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
  if (name === undefined) throw new Error(`${PROGRAM} ended well but delivered no picture`);
  return readFile(join(folder, name));
}

function explained(error: ProgramError): Error {
  if (error.failure === "missing") return new Error(`${error.message}: sudo apt install gphoto2`);
  const [, meaning] = TROUBLES.find(([said]) => said.test(error.complaint)) ?? [];
  return meaning === undefined ? error : new Error(`${PROGRAM} ${meaning}`);
}
