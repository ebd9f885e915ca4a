import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CameraSettings } from "../../contract/events.ts";
import type { CameraDriver, Frame } from "./camera-driver.ts";
import { measureJpeg } from "./jpeg.ts";
import { ProgramError, runProgram } from "./run-program.ts";

const PROGRAM = "gphoto2";

/** What gphoto2 complains of, and what to do about it. */
const TROUBLES: readonly [said: RegExp, meaning: string][] = [
  [/no camera found|could not detect any camera/i, "found no camera: is it switched on, and its cable plugged in?"],
  [
    /could not claim the usb device/i,
    "cannot use the camera, another program has it: on a desktop, gvfs-gphoto2-volume-monitor",
  ],
  [/out of focus|autofocus/i, "could not focus: set the lens to manual focus"],
  [/not found in configuration tree|could not set/i, "does not know one of the settings: this camera cannot be set so"],
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
  return {
    about: { model, firmware: PROGRAM },
    async capture(settings): Promise<Frame> {
      const folder = await mkdtemp(join(tmpdir(), "skylapse-gphoto2-"));
      try {
        const target = join(folder, "picture.%C");
        await run([...args, ...settingsFor(settings), "--capture-image-and-download", "--filename", target]);
        const jpeg = await pictureIn(folder);
        return { jpeg, ...(await measureJpeg(jpeg, PROGRAM)), settings };
      } finally {
        await rm(folder, { recursive: true, force: true });
      }

      async function run(all: readonly string[]): Promise<void> {
        try {
          await runProgram({
            command: PROGRAM,
            args: ["--quiet", "--force-overwrite", ...all],
            timeoutMs: timeoutMs + (settings.exposure_s ?? 0) * 1000,
            signal: stopped.signal,
            ...(killAfterMs === undefined ? {} : { killAfterMs }),
          });
        } catch (error) {
          throw error instanceof ProgramError ? explained(error) : error;
        }
      }
    },
    async stop() {
      stopped.abort();
    },
  };
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

function settingsFor({ exposure_s, iso, exposure_compensation, white_balance }: CameraSettings): string[] {
  const chosen: [name: string, value: string | undefined][] = [
    ["shutterspeed", exposure_s === undefined ? undefined : shutterSpeed(exposure_s)],
    ["iso", iso === undefined ? undefined : String(iso)],
    ["exposurecompensation", exposure_compensation === undefined ? undefined : String(exposure_compensation)],
    ["whitebalance", white_balance],
  ];
  return chosen.flatMap(([name, value]) => (value === undefined ? [] : ["--set-config", `${name}=${value}`]));
}

/** As cameras write it: `1/250`, `0.5`, `30`. */
function shutterSpeed(seconds: number): string {
  return seconds < 0.3 ? `1/${Math.round(1 / seconds)}` : String(seconds);
}
