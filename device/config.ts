import { readFileSync } from "node:fs";
import { z } from "zod";
import { type Schedule, strictScheduleSchema } from "../contract/commands.ts";
import { idSchema } from "../contract/ids.ts";
import { didYouMean, nearestName } from "../contract/nearest-name.ts";
import { DEFAULT_TOPIC_ROOT, topicProblem } from "../contract/topics.ts";
import { visible } from "../contract/visible-text.ts";
import type { BackoffOptions } from "../platform/backoff.ts";
import { ConfigurationError, countVariable, limitVariable, readEnvironment } from "../platform/config.ts";
import { DEFAULT_FOLDER_DEPTH } from "./cameras/folder.ts";
import type { PreviewConfig } from "./capture/pictures.ts";
import { DEFAULT_MAX_SLEEP_DAYS, type SleepConfig } from "./capture/sleep.ts";
import type { Location } from "./capture/sun.ts";
import { readJsonFile } from "./host/json-file.ts";
import { MAX_PREVIEW_BYTES } from "./link/previews.ts";
import { DEFAULT_KEEPALIVE_S } from "./link/uplink.ts";
import { DEFAULT_DISK_OUTBOX_BYTES, DEFAULT_OUTBOX_HOURS } from "./outbox/disk-outbox.ts";
import { DEFAULT_READINGS_MAX_AGE_S } from "./status/deadband-filter.ts";
import type { AlertLimits } from "./status/threshold-alerts.ts";
import { DEFAULT_ALERT_LIMITS } from "./status/threshold-alerts.ts";

/** The cameras an agent can drive. */
export const CAMERA_DRIVERS = ["simulated", "rpicam", "gphoto2", "folder"] as const;
export type CameraDriverName = (typeof CAMERA_DRIVERS)[number];

export const DEFAULT_CAPTURE_INTERVAL_S = 30;
export const DEFAULT_READINGS_INTERVAL_S = 60;
/** Beyond the exposure itself: the program starts, the camera settles, the picture is read out. */
export const DEFAULT_CAMERA_TIMEOUT_S = 60;
/** A camera whose link is gone for days costs its broker one try in five minutes. */
export const DEFAULT_RECONNECT: BackoffOptions = { minMs: 1000, maxMs: 300_000 };
/**
 * A picture every five minutes, each with a preview, fits into a SIM of 100 MB a month: 8,640 previews of 8 KiB are 71 MB.
 * The README's table of costs says what else there is.
 */
export const DEFAULT_PREVIEW: PreviewConfig = { width: 480, maxBytes: 8192, every: 1, onDemand: true };
const DEFAULT_DATA_PATH = "./data";

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
  /** What is followed until a schedule is set by command. Default: day and night, at the interval. */
  schedule?: Schedule;
  /** Seconds between looks at environment, storage and power; what changed enough is said. */
  readingsIntervalS: number;
  /** Seconds after which a reading is said again though nothing changed. Default 1,800. */
  readingsMaxAgeS?: number;
  /** Seconds without a packet after which the link is pinged. Default 60. */
  keepaliveS?: number;
  preview: PreviewConfig;
  /** Where outbox, pictures, settings, schedule and command results outlive a restart. Default: nowhere. */
  dataPath?: string;
  /** How the pictures themselves are kept below `dataPath`. Default: they are not. */
  images?: { minFreePercent?: number };
  outboxBytes: number;
  outboxHours?: number;
  reconnect: BackoffOptions;
  /** Default: those of the uplink. */
  timeouts?: { connectTimeoutMs?: number; ackTimeoutMs?: number };
  /** Whether this machine's disk, temperature and battery are the camera's. Default false. */
  watchHost?: boolean;
  alerts?: Partial<AlertLimits>;
  /** Default: it never sleeps by itself. */
  sleep?: SleepConfig;
  /** How long the `reboot` of this camera takes, milliseconds. Default 2,000. */
  rebootMs?: number;
}

/** What drives the camera. */
export interface DriverConfig {
  name: CameraDriverName;
  /** What people call the camera. Default: what the driver calls it. */
  model?: string;
  timeoutMs: number;
  /** For rpicam-still and gphoto2. */
  args: readonly string[];
  /** Of the folder driver. */
  folder?: string;
  /** Levels of its sub-folders that are looked into. */
  depth: number;
  deleteTaken: boolean;
}

/** What the program needs besides. */
export interface DeviceConfig {
  camera: CameraConfig;
  driver: DriverConfig;
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

const percent = z.coerce.number("must be a percentage").min(0, "must be at least 0").max(99, "must be at most 99");

const yesOrNo = z.enum(["yes", "no", "true", "false"], "must be yes or no").transform((text) => /^[yt]/.test(text));

/** `off`, `all`, `on-demand`, or `every:12`. */
const previewBudget = z
  .string()
  .regex(/^(off|all|on-demand|every:[1-9]\d{0,5})$/, "must be off, on-demand, all, or every:N such as every:12")
  .transform((text): Pick<PreviewConfig, "every" | "onDemand"> => {
    if (text === "off") return { every: 0, onDemand: false };
    if (text === "on-demand") return { every: 0, onDemand: true };
    return { every: text === "all" ? 1 : Number(text.slice("every:".length)), onDemand: true };
  });

const schema = z.object({
  CAMERA_ID: z.string("must be set to the camera's id").pipe(idSchema),
  CAMERA_SECRET: z.string("must be set to the secret that the broker knows this camera by").max(1024),
  CAMERA_NAME: z.string().max(200, "must be at most 200 characters").optional(),
  CAMERA_MODEL: z.string().max(200, "must be at most 200 characters").optional(),
  BROKER_URL: z
    .string()
    .default("mqtt://127.0.0.1:1883")
    .superRefine((url, context) => {
      const problem = brokerUrlProblem(url);
      if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
    }),
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
  CAMERA_TIMEOUT_S: seconds.default(DEFAULT_CAMERA_TIMEOUT_S),
  CAMERA_ARGS: z
    .string()
    .default("")
    .transform((text) => text.split(/\s+/).filter((part) => part !== "")),
  CAMERA_FOLDER: z.string().optional(),
  CAMERA_FOLDER_DEPTH: countVariable.max(20, "must be at most 20 levels").default(DEFAULT_FOLDER_DEPTH),
  CAMERA_FOLDER_DELETE: yesOrNo.default(false),
  CAPTURE_INTERVAL_S: seconds.default(DEFAULT_CAPTURE_INTERVAL_S),
  SCHEDULE_FILE: z.string().optional(),
  READINGS_INTERVAL_S: seconds.default(DEFAULT_READINGS_INTERVAL_S),
  READINGS_MAX_AGE_S: seconds.default(DEFAULT_READINGS_MAX_AGE_S),
  KEEPALIVE_S: z.coerce
    .number("must be a number of seconds")
    .int("must be a whole number of seconds")
    .min(5, "must be at least 5 seconds")
    // The server's own limit (MAX_MQTT_KEEPALIVE_SECONDS) unless it is set higher.
    .max(1200, "must be at most 1200 seconds")
    .default(DEFAULT_KEEPALIVE_S),
  PREVIEW_BUDGET: previewBudget.default({ every: 1, onDemand: true }),
  PREVIEW_WIDTH: countVariable.min(64, "must be at least 64 pixels").default(DEFAULT_PREVIEW.width),
  PREVIEW_MAX_BYTES: countVariable
    .min(4096, "must be at least 4096")
    .max(MAX_PREVIEW_BYTES, `must be at most ${MAX_PREVIEW_BYTES}, the contract's bound`)
    .default(DEFAULT_PREVIEW.maxBytes),
  KEEP_PICTURES: yesOrNo.optional(),
  KEEP_FREE_PERCENT: percent.default(0),
  OUTBOX_BYTES: countVariable.min(262_144, "must be at least 262144").default(DEFAULT_DISK_OUTBOX_BYTES),
  OUTBOX_HOURS: z.coerce
    .number("must be a number of hours")
    .min(1, "must be at least 1 hour")
    .max(8760, "must be at most 8760 hours, a year")
    .default(DEFAULT_OUTBOX_HOURS),
  RECONNECT_MAX_S: seconds.default(DEFAULT_RECONNECT.maxMs / 1000),
  DISK_ALERT_PERCENT: percent.optional(),
  TEMPERATURE_ALERT_C: z.coerce
    .number("must be a temperature in °C")
    .max(150, "must be at most 150 °C")
    .default(DEFAULT_ALERT_LIMITS.temperatureC),
  SLEEP_PAUSE_MINUTES: countVariable
    .refine((minutes) => minutes === 0 || minutes >= 5, "must be 0, or at least 5 minutes")
    .default(0),
  MAX_SLEEP_DAYS: limitVariable.default(DEFAULT_MAX_SLEEP_DAYS),
  SLEEP_COMMAND: z.string().optional(),
  DATA_PATH: z.string().default(DEFAULT_DATA_PATH),
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace"], "must be fatal, error, warn, info, debug or trace")
    .default("info"),
});

const SETTINGS: ReadonlySet<string> = new Set([...Object.keys(schema.shape), "CAMERA_SECRET_FILE"]);
/** A variable of the environment that differs in more letters is another program's. */
const MAX_SLIPS = 3;

export interface ConfigSource {
  /** Default: the process' environment. It wins over the file. */
  env?: Readonly<Record<string, string | undefined>>;
  /** A JSON object whose members are named like the variables. Default: none. */
  file?: string;
}

/**
 * Reads a camera's configuration; `CAMERA_SECRET` may come as `CAMERA_SECRET_FILE`.
 * @throws {ConfigurationError} naming every variable that is wrong
 */
export function loadConfig({ env = process.env, file }: ConfigSource = {}): DeviceConfig {
  const problems: string[] = [];
  const given = file === undefined ? {} : readConfigFile(file, problems);
  const wrong = noting(problems);
  const read = wrong(() =>
    readEnvironment(schema, {
      env: beneath(given, env),
      readFile: (path) => readFileSync(path, "utf8"),
      secrets: ["CAMERA_SECRET"],
    }),
  );
  const scheduleFile = (env.SCHEDULE_FILE || given.SCHEDULE_FILE)?.trim() || undefined;
  const schedule = scheduleFile === undefined ? undefined : wrong(() => readSchedule(scheduleFile));
  if (read?.CAMERA_DRIVER === "folder" && read.CAMERA_FOLDER === undefined)
    problems.push("CAMERA_FOLDER: must be set to the folder that the pictures are written into");
  if (read === undefined || problems.length > 0) throw new ConfigurationError(problems);
  return {
    logLevel: read.LOG_LEVEL,
    driver: {
      name: read.CAMERA_DRIVER,
      ...(read.CAMERA_MODEL === undefined ? {} : { model: read.CAMERA_MODEL }),
      timeoutMs: read.CAMERA_TIMEOUT_S * 1000,
      args: read.CAMERA_ARGS,
      ...(read.CAMERA_FOLDER === undefined ? {} : { folder: read.CAMERA_FOLDER }),
      depth: read.CAMERA_FOLDER_DEPTH,
      deleteTaken: read.CAMERA_FOLDER_DELETE,
    },
    camera: {
      id: read.CAMERA_ID,
      secret: read.CAMERA_SECRET,
      ...(read.CAMERA_NAME === undefined ? {} : { name: read.CAMERA_NAME }),
      brokerUrl: read.BROKER_URL,
      topicRoot: read.TOPIC_ROOT,
      location: { lat: read.LOCATION_LAT, lon: read.LOCATION_LON, timezone: read.TIMEZONE },
      captureIntervalS: read.CAPTURE_INTERVAL_S,
      ...(schedule === undefined ? {} : { schedule }),
      readingsIntervalS: read.READINGS_INTERVAL_S,
      readingsMaxAgeS: read.READINGS_MAX_AGE_S,
      keepaliveS: read.KEEPALIVE_S,
      preview: { width: read.PREVIEW_WIDTH, maxBytes: read.PREVIEW_MAX_BYTES, ...read.PREVIEW_BUDGET },
      dataPath: read.DATA_PATH,
      // The pictures of a mountain that is not there are not worth a disk.
      ...((read.KEEP_PICTURES ?? read.CAMERA_DRIVER !== "simulated")
        ? { images: { minFreePercent: read.KEEP_FREE_PERCENT } }
        : {}),
      outboxBytes: read.OUTBOX_BYTES,
      outboxHours: read.OUTBOX_HOURS,
      reconnect: { ...DEFAULT_RECONNECT, maxMs: read.RECONNECT_MAX_S * 1000 },
      // A simulated camera has a memory card of its own.
      watchHost: read.CAMERA_DRIVER !== "simulated",
      alerts: {
        ...(read.DISK_ALERT_PERCENT === undefined ? {} : { diskPercent: read.DISK_ALERT_PERCENT }),
        temperatureC: read.TEMPERATURE_ALERT_C,
      },
      sleep: {
        pauseMs: read.SLEEP_PAUSE_MINUTES * 60_000,
        maxDays: read.MAX_SLEEP_DAYS,
        ...(read.SLEEP_COMMAND === undefined ? {} : { command: read.SLEEP_COMMAND }),
      },
    },
  };
}

/**
 * A sentence for each variable that is no setting of this program, and a letter or two away from one: it is ignored, and
 * the default holds. Other programs' variables are in the environment too, so that this is no error.
 */
export function misspeltVariables(env: Readonly<Record<string, string | undefined>> = process.env): string[] {
  return Object.keys(env).flatMap((name) => {
    if (SETTINGS.has(name) || !env[name]?.trim()) return [];
    const nearest = nearestName(name, SETTINGS, Math.max(1, Math.min(MAX_SLIPS, Math.floor(name.length / 5))));
    return nearest === undefined ? [] : [`${visible(name)} is no setting and is ignored: did you mean ${nearest}?`];
  });
}

/** What the environment names, in either way, is not taken from the file. */
function beneath(
  file: Record<string, string>,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string | undefined> {
  const merged: Record<string, string | undefined> = { ...file };
  if (env.CAMERA_SECRET || env.CAMERA_SECRET_FILE) {
    delete merged.CAMERA_SECRET;
    delete merged.CAMERA_SECRET_FILE;
  }
  for (const [name, value] of Object.entries(env)) if (value?.trim()) merged[name] = value;
  return merged;
}

function readConfigFile(file: string, problems: string[]): Record<string, string> {
  const values: Record<string, string> = {};
  const content = noting(problems)(() => readJsonFile("--config", file));
  if (content === undefined) return values;
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    problems.push(`--config: ${file} must hold a JSON object`);
    return values;
  }
  for (const [name, value] of Object.entries(content)) {
    if (!SETTINGS.has(name))
      problems.push(`${visible(name)}: is not a setting of this program${didYouMean(name, SETTINGS)} (in ${file})`);
    else if (typeof value === "string" || typeof value === "number") values[name] = String(value);
    else if (typeof value === "boolean") values[name] = value ? "yes" : "no";
    else problems.push(`${name}: must be a text, a number, true or false (in ${file})`);
  }
  return values;
}

function readSchedule(file: string): Schedule {
  const result = strictScheduleSchema.safeParse(readJsonFile("SCHEDULE_FILE", file));
  if (result.success) return result.data;
  throw new ConfigurationError(
    result.error.issues.map(
      ({ path, message }) => `SCHEDULE_FILE: ${[path.join("."), message].filter(Boolean).join(": ")}`,
    ),
  );
}

/** Collects the problems of what is read, so that all are said at once. */
function noting(problems: string[]): <T>(read: () => T) => T | undefined {
  return (read) => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      problems.push(...error.problems);
      return undefined;
    }
  };
}

function brokerUrlProblem(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^(mqtts?|wss?):$/.test(url.protocol) || url.hostname === "")
    return "must be an mqtt://, mqtts://, ws:// or wss:// address";
  // MQTT.js would log in with these instead of the camera's, and the log would show them.
  if (url.username !== "" || url.password !== "")
    return "must hold no user and password: it logs in with CAMERA_ID and CAMERA_SECRET";
  return undefined;
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en-US", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
