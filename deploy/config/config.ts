import { z } from "zod";
import { ConfigurationError, countVariable, type EnvironmentSource, readEnvironment } from "../../platform/config.ts";
import { parseRedisUrl, RedisUrlError } from "../redis/redis-url.ts";

const schema = z.object({
  /** Simulated cameras that run along with the backend; 0 starts none, and no simulated processing service. */
  SIMULATOR: countVariable.max(16, "must be at most 16").default(2),
  /** Degrees north of the equator: where the simulated cameras stand, and so when their sun rises. */
  LOCATION_LAT: z.coerce
    .number("must be degrees")
    .min(-90, "must be -90 to 90")
    .max(90, "must be -90 to 90")
    .default(46.02),
  /** Degrees east of Greenwich. */
  LOCATION_LON: z.coerce
    .number("must be degrees")
    .min(-180, "must be -180 to 180")
    .max(180, "must be -180 to 180")
    .default(7.75),
  TIMEZONE: z
    .string()
    .refine(isTimeZone, "must be a name of the IANA time zone database, such as Europe/Zurich")
    .default("Europe/Zurich"),
  /** Seconds between two pictures of a simulated camera. */
  CAPTURE_INTERVAL_S: z.coerce
    .number("must be seconds")
    .min(1, "must be at least 1 second")
    .max(86_400, "must be at most a day")
    .default(10),
  /** Pixels across a picture of a simulated camera, which is three quarters as high. */
  SIMULATOR_WIDTH: countVariable
    .min(320, "must be at least 320 pixels")
    .max(4096, "must be at most 4096 pixels")
    .default(1280),
  DATA_PATH: z.string().default("./data"),
});

export type SimulatorConfig = z.infer<typeof schema>;

/** @throws {ConfigurationError} */
export function readSimulatorConfig(source: EnvironmentSource): SimulatorConfig {
  return readEnvironment(schema, source);
}

const storeSchema = z.object({
  /** Where Redis is; with it everything durable is kept there, and any number of nodes serve as one. */
  REDIS_URL: z
    .string()
    .superRefine((url, context) => {
      const problem = redisUrlProblem(url);
      if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
    })
    .optional(),
  /** What the names of all keys in Redis begin with: sets this deployment apart from others. */
  REDIS_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9:._-]{1,64}$/, "must be 1 to 64 letters, digits and : . _ -")
    .default("skylapse"),
});

/** The names of all settings that are read here. */
export const DEPLOY_VARIABLES: readonly string[] = [...Object.keys(schema.shape), ...Object.keys(storeSchema.shape)];

export interface StoreConfig {
  /** `REDIS_URL`, with its password; undefined when there is no Redis. */
  url: string | undefined;
  prefix: string;
}

/** @throws {ConfigurationError} */
export function readStoreConfig(source: EnvironmentSource): StoreConfig {
  const { REDIS_URL, REDIS_PREFIX } = readEnvironment(storeSchema, { ...source, secrets: ["REDIS_URL"] });
  return { url: REDIS_URL, prefix: REDIS_PREFIX };
}

function redisUrlProblem(url: string): string | undefined {
  try {
    parseRedisUrl(url);
    return undefined;
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error;
    return error.message.replace(/^REDIS_URL:? /, "");
  }
}

/** Runs readers of configuration and puts the problems of all of them into one error, each problem once. */
export function readAll<Configs extends Record<string, unknown>>(
  readers: { [Name in keyof Configs]: () => Configs[Name] },
): Configs {
  const problems = new Set<string>();
  const configs: Partial<Configs> = {};
  for (const name in readers) {
    try {
      configs[name] = readers[name]();
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      for (const problem of error.problems) problems.add(problem);
    }
  }
  if (problems.size > 0 || !isComplete(configs, readers)) throw new ConfigurationError([...problems]);
  return configs;
}

function isComplete<Configs>(configs: Partial<Configs>, readers: Record<keyof Configs, unknown>): configs is Configs {
  return Object.keys(readers).every((name) => name in configs);
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
