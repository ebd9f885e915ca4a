import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import sharp from "sharp";
import { bundled } from "./bundled.ts";
import { installRpicamStill, letRpicamStill } from "./rpicam-still.ts";

const PROGRAM = bundled("device/main.js");
const KEPT_PICTURE = /^\d{6}-([0-9a-z]{26})\.jpg$/;

/** The real camera program in its own process, with a stand-in for `rpicam-still`. */
export interface CameraProgram {
  process: ChildProcess;
  /** Names of all pictures on the disk, oldest first. */
  captures(): string[];
  /** Makes later captures hang, fail or succeed. */
  camera(does: "hang" | "fail" | "work"): void;
  /** Restarts the program on the same disk. */
  restart(): Promise<void>;
  /** Ends the program and removes the disk. */
  end(): Promise<void>;
}

export interface CameraProgramOptions {
  brokerUrl: string;
  secret: string;
  /** Default `north`. */
  id?: string;
  env?: Record<string, string>;
}

export async function startCameraProgram(options: CameraProgramOptions): Promise<CameraProgram> {
  const { brokerUrl, secret, id = "north", env = {} } = options;
  const place = mkdtempSync(join(tmpdir(), "skylapse-camera-"));
  const grey = { create: { width: 320, height: 240, channels: 3, background: "grey" } } as const;
  installRpicamStill(place, await sharp(grey).jpeg().toBuffer());
  const dataPath = join(place, "data");
  const pictures = join(dataPath, "raw");
  mkdirSync(pictures, { recursive: true });

  const launch = (): ChildProcess =>
    spawn(process.execPath, [PROGRAM], {
      env: {
        PATH: [place, process.env.PATH].join(delimiter),
        CAMERA_ID: id,
        CAMERA_SECRET: secret,
        CAMERA_DRIVER: "rpicam",
        CAPTURE_INTERVAL_S: "1",
        BROKER_URL: brokerUrl,
        LOCATION_LAT: "46",
        LOCATION_LON: "7.7",
        DATA_PATH: dataPath,
        RECONNECT_MAX_S: "1",
        LOG_LEVEL: "fatal",
        ...env,
      },
      stdio: ["ignore", "inherit", "inherit"],
    });
  let child = launch();

  async function stop(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill("SIGTERM");
    await closed;
  }

  return {
    get process() {
      return child;
    },
    captures: () =>
      readdirSync(pictures, { recursive: true, encoding: "utf8" })
        .flatMap((path) => KEPT_PICTURE.exec(path.slice(path.lastIndexOf("/") + 1))?.[1] ?? [])
        .sort(),
    camera: (does) => letRpicamStill(place, does),
    async restart() {
      await stop();
      child = launch();
    },
    async end() {
      await stop();
      rmSync(place, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
