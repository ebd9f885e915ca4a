import { z } from "zod";
import { ConfigurationError, countVariable, type EnvironmentSource, readEnvironment } from "../contract/environment.ts";

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
  DATA_PATH: z.string().default("./data"),
});

export type SimulatorConfig = z.infer<typeof schema>;

/** @throws {ConfigurationError} */
export function readSimulatorConfig(source: EnvironmentSource): SimulatorConfig {
  return readEnvironment(schema, source);
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
