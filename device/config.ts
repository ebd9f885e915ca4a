import { readFileSync } from "node:fs";
import { z } from "zod";
import { countVariable, readEnvironment } from "../contract/environment.ts";
import { idSchema } from "../contract/ids.ts";
import { DEFAULT_TOPIC_ROOT, topicProblem } from "../contract/topics.ts";
import type { BackoffOptions } from "./backoff.ts";
import { DEFAULT_OUTBOX_BYTES } from "./memory-outbox.ts";
import { MAX_PREVIEW_BYTES } from "./previews.ts";
import type { Location } from "./sun.ts";

/** The cameras an agent can drive. */
export const CAMERA_DRIVERS = ["simulated"] as const;
export type CameraDriverName = (typeof CAMERA_DRIVERS)[number];

export const DEFAULT_CAPTURE_INTERVAL_S = 30;
export const DEFAULT_READINGS_INTERVAL_S = 60;
/** A camera whose link is gone for days costs its broker one try in five minutes. */
export const DEFAULT_RECONNECT: BackoffOptions = { minMs: 1000, maxMs: 300_000 };
export const DEFAULT_PREVIEW: PreviewConfig = { width: 960, maxBytes: MAX_PREVIEW_BYTES, every: 1 };

export interface PreviewConfig {
  /** Pixels. */
  width: number;
  maxBytes: number;
  /** One preview for so many pictures; 0 sends only those of `capture.now`. */
  every: number;
}

export interface CameraConfig {
  id: string;
  secret: string;
  /** What people call it. Default: nothing, dashboards show the id. */
  name?: string;
  brokerUrl: string;
  topicRoot: string;
  location: Location;
  /** Seconds between pictures until a schedule is set. */
  captureIntervalS: number;
  /** Seconds between reports of environment, storage and power. */
  readingsIntervalS: number;
  preview: PreviewConfig;
  /** Where settings, schedule and command results outlive a restart. Default: nowhere. */
  dataPath?: string;
  outboxBytes: number;
  reconnect: BackoffOptions;
  /** How long the `reboot` of this camera takes, milliseconds. Default 2,000. */
  rebootMs?: number;
}

/** What the program needs besides. */
export interface DeviceConfig {
  camera: CameraConfig;
  driver: CameraDriverName;
  logLevel: "fatal" | "error" | "warn" | "info" | "debug" | "trace";
}

const coordinate = (name: string, limit: number) =>
  z.coerce
    .number(`must be the camera's ${name} in degrees`)
    .min(-limit, `must be at least -${limit}`)
    .max(limit, `must be at most ${limit}`);

const seconds = z.coerce
  .number("must be a number of seconds")
  .min(1, "must be at least 1 second")
  .max(86_400, "must be at most 86400 seconds");

const schema = z.object({
  CAMERA_ID: z.string("must be set to the camera's id").pipe(idSchema),
  CAMERA_SECRET: z.string("must be set to the secret that the broker knows this camera by").max(1024),
  CAMERA_NAME: z.string().max(200, "must be at most 200 characters").optional(),
  BROKER_URL: z
    .url({ protocol: /^(mqtts?|wss?)$/, message: "must be an mqtt://, mqtts://, ws:// or wss:// address" })
    .default("mqtt://127.0.0.1:1883"),
  TOPIC_ROOT: z
    .string()
    .default(DEFAULT_TOPIC_ROOT)
    .superRefine((root, context) => {
      const problem = topicProblem(root);
      if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
    }),
  LOCATION_LAT: coordinate("latitude", 90),
  LOCATION_LON: coordinate("longitude", 180),
  TIMEZONE: z.string().default("UTC").refine(isTimezone, "must be an IANA time zone such as Europe/Zurich"),
  CAMERA_DRIVER: z
    .enum(CAMERA_DRIVERS, `must be one of the drivers there are: ${CAMERA_DRIVERS.join(", ")}`)
    .default("simulated"),
  CAPTURE_INTERVAL_S: seconds.default(DEFAULT_CAPTURE_INTERVAL_S),
  READINGS_INTERVAL_S: seconds.default(DEFAULT_READINGS_INTERVAL_S),
  PREVIEW_EVERY: countVariable.default(DEFAULT_PREVIEW.every),
  PREVIEW_WIDTH: countVariable.min(64, "must be at least 64 pixels").default(DEFAULT_PREVIEW.width),
  PREVIEW_MAX_BYTES: countVariable
    .min(4096, "must be at least 4096")
    .max(MAX_PREVIEW_BYTES, `must be at most ${MAX_PREVIEW_BYTES}, the contract's bound`)
    .default(DEFAULT_PREVIEW.maxBytes),
  OUTBOX_BYTES: countVariable.min(262_144, "must be at least 262144").default(DEFAULT_OUTBOX_BYTES),
  RECONNECT_MAX_S: seconds.default(DEFAULT_RECONNECT.maxMs / 1000),
  DATA_PATH: z.string().optional(),
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace"], "must be fatal, error, warn, info, debug or trace")
    .default("info"),
});

/**
 * Reads a camera's configuration; `CAMERA_SECRET` may come as `CAMERA_SECRET_FILE`.
 * @throws {ConfigurationError} naming every variable that is wrong
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>> = process.env): DeviceConfig {
  const read = readEnvironment(schema, {
    env,
    readFile: (path) => readFileSync(path, "utf8"),
    secrets: ["CAMERA_SECRET"],
  });
  return {
    driver: read.CAMERA_DRIVER,
    logLevel: read.LOG_LEVEL,
    camera: {
      id: read.CAMERA_ID,
      secret: read.CAMERA_SECRET,
      ...(read.CAMERA_NAME === undefined ? {} : { name: read.CAMERA_NAME }),
      brokerUrl: read.BROKER_URL,
      topicRoot: read.TOPIC_ROOT,
      location: { lat: read.LOCATION_LAT, lon: read.LOCATION_LON, timezone: read.TIMEZONE },
      captureIntervalS: read.CAPTURE_INTERVAL_S,
      readingsIntervalS: read.READINGS_INTERVAL_S,
      preview: { width: read.PREVIEW_WIDTH, maxBytes: read.PREVIEW_MAX_BYTES, every: read.PREVIEW_EVERY },
      ...(read.DATA_PATH === undefined ? {} : { dataPath: read.DATA_PATH }),
      outboxBytes: read.OUTBOX_BYTES,
      reconnect: { ...DEFAULT_RECONNECT, maxMs: read.RECONNECT_MAX_S * 1000 },
    },
  };
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
