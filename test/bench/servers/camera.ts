import { readFileSync } from "node:fs";
import { delimiter } from "node:path";
import { fileURLToPath } from "node:url";
import { type ServerProcess, startProcess } from "./server.ts";
import { signToken } from "./tokens.ts";

const PROGRAM = fileURLToPath(new URL("../../../device/main.js", import.meta.url));
export const CAMERA = "bench";
export const BENCH_PREVIEW = { width: 960, maxBytes: 65_536 };
/** The memory settings of deploy/skylapse-camera.service. */
const AS_THE_UNIT_DOES = {
  MALLOC_ARENA_MAX: "2",
  MALLOC_MMAP_THRESHOLD_: "131072",
  NODE_OPTIONS: "--max-semi-space-size=1",
};

export interface CameraOptions {
  mqttPort: number;
  dataPath: string;
  /** The folder with the stand-in for `rpicam-still`. */
  programs: string;
  captureIntervalS: number;
  /** Whether previews have the default size instead of the largest size. */
  defaultPreviews?: boolean;
  /** Default: a token. The server sends commands only to a device with its own secret. */
  secret?: string;
  env?: Record<string, string>;
}

/** Starts the real camera program. Resolves after the first attempt to connect. */
export async function startCamera(options: CameraOptions) {
  const { mqttPort, dataPath, programs, captureIntervalS, defaultPreviews = false, secret, env = {} } = options;
  const previews = {
    PREVIEW_WIDTH: String(BENCH_PREVIEW.width),
    PREVIEW_MAX_BYTES: String(BENCH_PREVIEW.maxBytes),
  };
  const camera = await startProcess({
    command: process.execPath,
    args: [PROGRAM],
    env: {
      PATH: [programs, process.env.PATH].join(delimiter),
      CAMERA_ID: CAMERA,
      CAMERA_SECRET: secret ?? signToken(CAMERA, [`device:${CAMERA}`]),
      CAMERA_DRIVER: "rpicam",
      CAPTURE_INTERVAL_S: String(captureIntervalS),
      BROKER_URL: `mqtt://127.0.0.1:${mqttPort}`,
      LOCATION_LAT: "46",
      LOCATION_LON: "7.7",
      DATA_PATH: dataPath,
      KEEP_PICTURES: "no",
      ...(defaultPreviews ? {} : previews),
      ...env,
      ...AS_THE_UNIT_DOES,
    },
    ready: /link up|link failed/,
  });
  return { ...camera, memory: () => memoryOf(camera) };
}

/** Present and highest resident memory in bytes, as counted by the system. */
function memoryOf({ pid }: ServerProcess): { rss: number; highest: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
  return { rss: bytes("VmRSS"), highest: bytes("VmHWM") };
}
