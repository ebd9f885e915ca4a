import { readFileSync } from "node:fs";
import { z } from "zod";
import { type Schedule, strictScheduleSchema } from "../contract/commands.ts";
import { idSchema } from "../contract/ids.ts";
import { didYouMean } from "../contract/nearest-name.ts";
import type { Location } from "../contract/schedule/sun.ts";
import { DEFAULT_TOPIC_ROOT } from "../contract/topics.ts";
import { visible } from "../contract/visible-text.ts";
import type { BackoffOptions } from "../platform/backoff.ts";
import {
  ConfigurationError,
  countVariable,
  type EnvironmentSource,
  latitudeVariable,
  limitVariable,
  longitudeVariable,
  readAll,
  readEnvironment,
  secondsVariable,
  setting,
  timeZoneVariable,
  topicRootVariable,
  type ValuesOf,
  variablesOf,
} from "../platform/config.ts";
import { misspeltSettings } from "../platform/misspelt-settings.ts";
import { DEFAULT_FOLDER_DEPTH } from "./cameras/folder.ts";
import type { PreviewConfig } from "./capture/pictures.ts";
import { DEFAULT_MAX_SLEEP_DAYS, type SleepConfig } from "./capture/sleep.ts";
import { readJsonFile } from "./host/json-file.ts";
import { MAX_PREVIEW_BYTES } from "./link/previews.ts";
import { DEFAULT_KEEPALIVE_S } from "./link/uplink.ts";
import { DEFAULT_DISK_OUTBOX_BYTES, DEFAULT_OUTBOX_HOURS } from "./outbox/disk-outbox.ts";
import { DEFAULT_READINGS_MAX_AGE_S } from "./status/deadband-filter.ts";
import { type AlertLimits, DEFAULT_ALERT_LIMITS } from "./status/threshold-alerts.ts";

export const CAMERA_DRIVERS = ["simulated", "rpicam", "gphoto2", "folder"] as const;
const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace"] as const;

export const DEFAULT_READINGS_INTERVAL_S = 60;
/** A camera that stays offline for days tries to connect every five minutes. */
export const DEFAULT_RECONNECT: BackoffOptions = { minMs: 1000, maxMs: 300_000 };
/** A picture every five minutes fits into a SIM of 100 MB a month: 8,640 previews of 8 KiB are 71 MB. */
export const DEFAULT_PREVIEW: PreviewConfig = { width: 480, maxBytes: 8192, every: 1, onDemand: true };

export interface CameraConfig {
  id: string;
  secret: string;
  name?: string;
  brokerUrl: string;
  topicRoot: string;
  location: Location;
  captureIntervalS: number;
  /** The schedule until a command sets one. Default: day and night, every `captureIntervalS`. */
  schedule?: Schedule;
  readingsIntervalS: number;
  readingsMaxAgeS?: number;
  /** Seconds without a packet after which the camera pings the server. Default: {@link DEFAULT_KEEPALIVE_S}. */
  keepaliveS?: number;
  preview: PreviewConfig;
  /** The folder for everything that survives a restart. Default: everything is in memory. */
  dataPath?: string;
  /** Keeps pictures below `dataPath`. Default: pictures are not kept. */
  images?: { minFreePercent?: number };
  outboxBytes: number;
  outboxHours?: number;
  reconnect: BackoffOptions;
  timeouts?: { connectTimeoutMs?: number; ackTimeoutMs?: number };
  /** Whether to report the disk, temperature and battery of this machine. Default false. */
  watchHost?: boolean;
  alerts?: Partial<AlertLimits>;
  /** Default: the camera sleeps only on command. */
  sleep?: SleepConfig;
  /** Milliseconds that a `reboot` takes. Default: the agent's. */
  rebootMs?: number;
}

export interface DriverConfig {
  name: (typeof CAMERA_DRIVERS)[number];
  model?: string;
  timeoutMs: number;
  args: readonly string[];
  folder?: string;
  depth: number;
  deleteTaken: boolean;
}

export interface DeviceConfig {
  camera: CameraConfig;
  driver: DriverConfig;
  logLevel: (typeof LOG_LEVELS)[number];
}

const percent = z.coerce.number("must be a percentage").min(0, "must be at least 0").max(99, "must be at most 99");

const yesOrNo = z.enum(["yes", "no", "true", "false"], "must be yes or no").transform((text) => /^[yt]/.test(text));

const previewBudget = z
  .string()
  .regex(/^(off|all|on-demand|every:[1-9]\d{0,5})$/, "must be off, on-demand, all, or every:N such as every:12")
  .transform((text): Pick<PreviewConfig, "every" | "onDemand"> => {
    if (text === "off") return { every: 0, onDemand: false };
    if (text === "on-demand") return { every: 0, onDemand: true };
    return { every: text === "all" ? 1 : Number(text.slice("every:".length)), onDemand: true };
  });

const shortText = z.string().max(200, "must be at most 200 characters").optional();

export const deviceSettings = {
  CAMERA_ID: setting("The camera's id on the server.", z.string("must be set to the camera's id").pipe(idSchema)),
  CAMERA_SECRET: setting(
    "The camera's secret on the server.",
    z.string("must be set to the secret that the broker knows this camera by").max(1024),
    { isSecret: true },
  ),
  CAMERA_NAME: setting("The camera's display name.", shortText, { defaultText: "the id" }),
  CAMERA_MODEL: setting("The model of the hardware.", shortText, { defaultText: "the driver's name for it" }),
  BROKER_URL: setting(
    "Address of the server: `mqtt://`, `mqtts://`, `ws://` or `wss://`.",
    z.string().superRefine(checkBrokerUrl).default("mqtt://127.0.0.1:1883"),
  ),
  TOPIC_ROOT: setting("The server's `TOPIC_ROOT`.", topicRootVariable.default(DEFAULT_TOPIC_ROOT)),
  LOCATION_LAT: setting("Latitude of the camera: schedules follow the sun there.", latitudeVariable, {
    unit: "degrees",
  }),
  LOCATION_LON: setting("Longitude of the camera.", longitudeVariable, { unit: "degrees" }),
  TIMEZONE: setting("Time zone of the camera, by its IANA name.", timeZoneVariable.default("UTC")),
  CAMERA_DRIVER: setting(
    "What takes the pictures: a simulation, `rpicam-still`, `gphoto2`, or another program that writes them into a folder.",
    z.enum(CAMERA_DRIVERS, `must be one of the drivers there are: ${CAMERA_DRIVERS.join(", ")}`).default("simulated"),
  ),
  CAMERA_TIMEOUT_S: setting(
    "How long taking a picture may last, without its exposure: start of the program, settling, and readout.",
    secondsVariable.default(60),
  ),
  CAMERA_ARGS: setting(
    "Further arguments for `rpicam-still` or `gphoto2`, separated by blanks.",
    z
      .string()
      .default("")
      .transform((text) => text.split(/\s+/).filter(Boolean)),
    { defaultText: "none" },
  ),
  CAMERA_FOLDER: setting(
    "Driver `folder`: where another program writes its pictures. Required.",
    z.string().optional(),
  ),
  CAMERA_FOLDER_DEPTH: setting(
    "Driver `folder`: levels of subfolders that are searched, such as the date folders of an FTP camera. 0: none.",
    countVariable.max(20, "must be at most 20 levels").default(DEFAULT_FOLDER_DEPTH),
    { unit: "levels" },
  ),
  CAMERA_FOLDER_DELETE: setting("Driver `folder`: whether imported pictures are deleted.", yesOrNo.default(false), {
    defaultText: "`no`",
    values: "`yes`, `no`",
  }),
  CAPTURE_INTERVAL_S: setting("Time between pictures without a schedule.", secondsVariable.default(30)),
  SCHEDULE_FILE: setting("A JSON file with the schedule until a command sets one.", z.string().optional()),
  READINGS_INTERVAL_S: setting(
    "Time between readings of weather, storage and power. Only readings that changed enough are sent.",
    secondsVariable.default(DEFAULT_READINGS_INTERVAL_S),
  ),
  READINGS_MAX_AGE_S: setting(
    "Time after which an unchanged reading is sent again.",
    secondsVariable.default(DEFAULT_READINGS_MAX_AGE_S),
  ),
  KEEPALIVE_S: setting(
    "Time without a packet before the camera pings the server. A link that breaks unnoticed makes the camera offline after " +
      "1.5 times this and the server's `PRESENCE_GRACE_MS`. The server accepts at most its `MAX_MQTT_KEEPALIVE_SECONDS`.",
    z.coerce
      .number("must be a number of seconds")
      .int("must be a whole number of seconds")
      .min(5, "must be at least 5 seconds")
      // The default of the server's MAX_MQTT_KEEPALIVE_SECONDS.
      .max(1200, "must be at most 1200 seconds")
      .default(DEFAULT_KEEPALIVE_S),
  ),
  RECONNECT_MAX_S: setting(
    "Longest time between two attempts to connect.",
    secondsVariable.default(DEFAULT_RECONNECT.maxMs / 1000),
  ),
  PREVIEW_BUDGET: setting(
    "Which pictures have a preview: `off`, `on-demand` (those of `capture.now` and `preview.send`), `all`, or one in several, " +
      "such as `every:12`.",
    previewBudget.prefault("all"),
  ),
  PREVIEW_WIDTH: setting(
    "Width of a preview.",
    countVariable.min(64, "must be at least 64 pixels").default(DEFAULT_PREVIEW.width),
    { unit: "pixels" },
  ),
  PREVIEW_MAX_BYTES: setting(
    "Size of a preview. A slow link makes previews smaller.",
    countVariable
      .min(4096, "must be at least 4096")
      .max(MAX_PREVIEW_BYTES, `must be at most ${MAX_PREVIEW_BYTES}, the contract's bound`)
      .default(DEFAULT_PREVIEW.maxBytes),
    { unit: "bytes" },
  ),
  KEEP_PICTURES: setting("Whether pictures are kept below `DATA_PATH`.", yesOrNo, {
    // Simulated pictures are not worth the disk space.
    defaultFrom: { name: "CAMERA_DRIVER", value: (driver) => (driver === "simulated" ? "no" : "yes") },
    defaultText: "`yes`, `no` for the driver `simulated`",
    values: "`yes`, `no`",
  }),
  KEEP_FREE_PERCENT: setting(
    "Free share of the disk below which the oldest pictures are deleted, but never the newest. With 0, pictures fill the disk " +
      "except for its last 16 MB, and taking a picture then fails.",
    percent.default(0),
  ),
  OUTBOX_BYTES: setting(
    "Bytes of unsent messages on the disk.",
    countVariable.min(262_144, "must be at least 262144").default(DEFAULT_DISK_OUTBOX_BYTES),
  ),
  OUTBOX_HOURS: setting(
    "How long an unsent message is kept.",
    z.coerce
      .number("must be a number of hours")
      .min(1, "must be at least 1 hour")
      .max(8760, "must be at most 8760 hours, a year")
      .default(DEFAULT_OUTBOX_HOURS),
  ),
  DISK_ALERT_PERCENT: setting(
    "Alert: the disk is fuller than this. Takes precedence over the server's `ALERT_DISK_PERCENT`.",
    percent.optional(),
    { defaultText: "the server's" },
  ),
  TEMPERATURE_ALERT_C: setting(
    "Alert: the camera is hotter than this.",
    z.coerce
      .number("must be a temperature in °C")
      .max(150, "must be at most 150 °C")
      .default(DEFAULT_ALERT_LIMITS.temperatureC),
  ),
  SLEEP_PAUSE_MINUTES: setting(
    "The camera sleeps in pauses of the schedule that are at least this long. 0: only on command.",
    countVariable.refine((minutes) => minutes === 0 || minutes >= 5, "must be 0, or at least 5 minutes").default(0),
    { values: "0, or 5 or more" },
  ),
  MAX_SLEEP_DAYS: setting("The longest sleep.", limitVariable.default(DEFAULT_MAX_SLEEP_DAYS)),
  SLEEP_COMMAND: setting(
    "The program that puts the machine to sleep. Its argument is the wake-up time.",
    z.string().optional(),
  ),
  DATA_PATH: setting(
    "Folder for everything that survives a restart: outbox, pictures, settings, schedule and command results.",
    z.string().default("./data"),
  ),
  LOG_LEVEL: setting(
    "Lowest level of logged lines.",
    z.enum(LOG_LEVELS, "must be fatal, error, warn, info, debug or trace").default("info"),
  ),
};

const SETTINGS: ReadonlySet<string> = new Set(variablesOf(deviceSettings));

export interface ConfigSource {
  env?: Readonly<Record<string, string | undefined>>;
  file?: string;
}

/** @throws {ConfigurationError} naming every invalid variable */
export function loadConfig({ env = process.env, file }: ConfigSource = {}): DeviceConfig {
  const given = file === undefined ? { values: {}, problems: [] } : readConfigFile(file);
  const merged = mergeSettings(given.values, env);
  const { read, schedule } = readAll({
    file: () => throwIfAny(given.problems),
    read: () => readSettings(merged),
    schedule: () => readSchedule(merged.SCHEDULE_FILE?.trim()),
  });
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
      ...(read.KEEP_PICTURES ? { images: { minFreePercent: read.KEEP_FREE_PERCENT } } : {}),
      outboxBytes: read.OUTBOX_BYTES,
      outboxHours: read.OUTBOX_HOURS,
      reconnect: { ...DEFAULT_RECONNECT, maxMs: read.RECONNECT_MAX_S * 1000 },
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

/** A warning for each variable with nearly the name of a setting. */
export function misspeltVariables(env: EnvironmentSource["env"] = process.env): string[] {
  return misspeltSettings(env, SETTINGS);
}

function readSettings(env: EnvironmentSource["env"]): ValuesOf<typeof deviceSettings> {
  const read = readEnvironment(deviceSettings, { env, readFile: (path) => readFileSync(path, "utf8") });
  if (read.CAMERA_DRIVER === "folder" && read.CAMERA_FOLDER === undefined)
    throw new ConfigurationError(["CAMERA_FOLDER: must be set to the folder that the pictures are written into"]);
  return read;
}

/**
 * Environment variables override the file: the variable `CAMERA_SECRET_FILE` also overrides a `CAMERA_SECRET` in the
 * file.
 */
function mergeSettings(file: Record<string, string>, env: EnvironmentSource["env"]): EnvironmentSource["env"] {
  const merged: Record<string, string | undefined> = { ...file };
  if (env.CAMERA_SECRET || env.CAMERA_SECRET_FILE) {
    delete merged.CAMERA_SECRET;
    delete merged.CAMERA_SECRET_FILE;
  }
  for (const [name, value] of Object.entries(env)) if (value?.trim()) merged[name] = value;
  return merged;
}

function readConfigFile(file: string): { values: Record<string, string>; problems: readonly string[] } {
  const values: Record<string, string> = {};
  const problems: string[] = [];
  let content: unknown;
  try {
    content = readJsonFile("--config", file);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    return { values, problems: error.problems };
  }
  if (typeof content !== "object" || content === null || Array.isArray(content))
    return { values, problems: [`--config: ${file} must hold a JSON object`] };
  for (const [name, value] of Object.entries(content)) {
    if (!SETTINGS.has(name))
      problems.push(`${visible(name)}: is not a setting of this program${didYouMean(name, SETTINGS)} (in ${file})`);
    else if (typeof value === "string" || typeof value === "number") values[name] = String(value);
    else if (typeof value === "boolean") values[name] = value ? "yes" : "no";
    else problems.push(`${name}: must be a text, a number, true or false (in ${file})`);
  }
  return { values, problems };
}

function throwIfAny(problems: readonly string[]): void {
  if (problems.length > 0) throw new ConfigurationError(problems);
}

/** @throws {ConfigurationError} */
function readSchedule(file: string | undefined): Schedule | undefined {
  if (!file) return undefined;
  const result = strictScheduleSchema.safeParse(readJsonFile("SCHEDULE_FILE", file));
  if (result.success) return result.data;
  throw new ConfigurationError(
    result.error.issues.map(
      ({ path, message }) => `SCHEDULE_FILE: ${[path.join("."), message].filter(Boolean).join(": ")}`,
    ),
  );
}

function checkBrokerUrl(text: string, context: z.RefinementCtx): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^(mqtts?|wss?):$/.test(url.protocol) || url.hostname === "")
    context.addIssue({ code: "custom", message: "must be an mqtt://, mqtts://, ws:// or wss:// address" });
  // MQTT.js would use a user and password in the address instead of the camera's own login, and logs would show them.
  else if (url.username !== "" || url.password !== "")
    context.addIssue({
      code: "custom",
      message: "must hold no user and password: it logs in with CAMERA_ID and CAMERA_SECRET",
    });
}
