import { z } from "zod";
import {
  countVariable,
  type EnvironmentSource,
  latitudeVariable,
  longitudeVariable,
  readEnvironment,
  type SharedSettings,
  secondsVariable,
  setting,
  sharedSettings,
  timeZoneVariable,
} from "../../platform/config.ts";
import { parseRedisUrl, RedisUrlError } from "../../platform/redis/redis-url.ts";
import { serverSettings } from "../../platform/server-settings.ts";

export const simulatorSettings = {
  SIMULATOR: setting(
    "Number of simulated cameras that the server starts, together with a simulated processing service. 0 starts none. " +
      "With `REDIS_URL` or `MQTT_URL`, the default is 0: every node would simulate the same cameras, or another broker would " +
      "not know them.",
    countVariable.max(16, "must be at most 16").default(2),
  ),
  LOCATION_LAT: setting(
    "Latitude of the simulated cameras, north of the equator. It determines their sunrise.",
    latitudeVariable.default(46.02),
    { unit: "degrees" },
  ),
  LOCATION_LON: setting("Longitude of the simulated cameras, east of Greenwich.", longitudeVariable.default(7.75), {
    unit: "degrees",
  }),
  TIMEZONE: setting(
    "Time zone of the simulated cameras: a name from the IANA database.",
    timeZoneVariable.default("Europe/Zurich"),
  ),
  CAPTURE_INTERVAL_S: setting("Time between two pictures of a simulated camera.", secondsVariable.default(10)),
  SIMULATOR_WIDTH: setting(
    "Width of a picture of a simulated camera. The height is three quarters of the width. Use 320 on a small machine.",
    countVariable.min(320, "must be at least 320 pixels").max(4096, "must be at most 4096 pixels").default(1280),
    { unit: "pixels" },
  ),
};

export type SimulatorConfig = ReturnType<typeof readSimulatorConfig>;

/** @throws {ConfigurationError} */
export function readSimulatorConfig(source: EnvironmentSource) {
  return readEnvironment({ ...simulatorSettings, DATA_PATH: serverSettings.DATA_PATH }, source);
}

export const storeSettings = {
  REDIS_URL: setting(
    "Stores all durable data in Redis instead of files, so that several nodes form one server: `redis://`, " +
      "`rediss://` (TLS), `redis+sentinel://` or `redis+cluster://`.",
    z.string().superRefine(checkRedisUrl).optional(),
    { isSecret: true },
  ),
  REDIS_PREFIX: setting(
    "Prefix of all keys in Redis. It separates several installations in one Redis.",
    z
      .string()
      .regex(/^[A-Za-z0-9:._-]{1,64}$/, "must be 1 to 64 letters, digits and : . _ -")
      .default("skylapse"),
  ),
  REDIS_WAIT_REPLICAS: setting(
    "How many replicas of Redis must have an event before its sender is acknowledged, so that a failover loses no " +
      "acknowledged event. While fewer confirm, nothing is acknowledged.",
    countVariable.max(10, "must be at most 10").default(0),
    { unit: "replicas", mustAgree: true },
  ),
};

/** Settings that only the command `skylapse` reads. */
export const commandLineSettings = {
  SKYLAPSE_URL: setting(
    "Address of the server for the command `skylapse`, such as `http://127.0.0.1:8082`.",
    z.url({ protocol: /^https?$/, error: "must be an address such as http://127.0.0.1:8082" }).optional(),
    { defaultText: "`WS_PORT` of `HOST`" },
  ),
};

export interface StoreConfig {
  /** `REDIS_URL`, including the password. */
  url: string | undefined;
  prefix: string;
  waitReplicas: number;
  /** The settings that must be the same at all nodes. */
  shared: SharedSettings;
}

/** @throws {ConfigurationError} */
export function readStoreConfig(source: EnvironmentSource): StoreConfig {
  const read = readEnvironment(storeSettings, source);
  const { REDIS_URL: url, REDIS_PREFIX: prefix, REDIS_WAIT_REPLICAS: waitReplicas } = read;
  return { url, prefix, waitReplicas, shared: sharedSettings(storeSettings, read) };
}

function checkRedisUrl(url: string, context: z.RefinementCtx): void {
  try {
    parseRedisUrl(url);
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error;
    context.addIssue({ code: "custom", message: error.message.replace(/^REDIS_URL:? /, "") });
  }
}
