import { readFileSync } from "node:fs";
import { BRIDGE_VARIABLES, type BridgeConfig, readBridgeConfig } from "../../bridge/config.ts";
import { BROKER_VARIABLES, type BrokerConfig, readBrokerConfig } from "../../broker/config.ts";
import { readAll, variablesOf } from "../../platform/config.ts";
import { misspeltSettings } from "../../platform/misspelt-settings.ts";
import {
  commandLineSettings,
  readSimulatorConfig,
  readStoreConfig,
  type SimulatorConfig,
  type StoreConfig,
  simulatorSettings,
  storeSettings,
} from "./config.ts";
import { loadSecrets, type Secrets } from "./secrets.ts";

const SETTINGS: ReadonlySet<string> = new Set([
  ...BRIDGE_VARIABLES,
  ...BROKER_VARIABLES,
  ...variablesOf({ ...simulatorSettings, ...storeSettings, ...commandLineSettings }),
]);

/** The id of the simulated processing service. */
export const SERVICE_ID = "worker";

export interface BackendConfig {
  bridge: BridgeConfig;
  broker: BrokerConfig;
  simulator: SimulatorConfig;
  store: StoreConfig;
  secrets: Secrets;
  /** The limits that are set to 0, by the names of their variables. */
  unlimited: readonly string[];
  /** A warning for each variable whose name is nearly that of a setting. */
  misspelt: readonly string[];
}

/**
 * Reads the configuration of every part, and generates the secrets that are not configured.
 * @throws {ConfigurationError} all problems of all parts at once
 * @throws {DataPathError}
 */
export function readBackendConfig(env: NodeJS.ProcessEnv): BackendConfig {
  const { simulator, store, broker, unlimited, misspelt } = checkBackendConfig(env);
  const secrets = loadSecrets(simulator.DATA_PATH, simulatedIds(simulator));
  return {
    simulator,
    store,
    secrets,
    broker,
    unlimited,
    misspelt,
    bridge: readBridgeConfig({
      ...sourceOf(env),
      generated: { JWT_SECRET: secrets.jwtSecret, OPERATOR_KEY: secrets.operatorKey },
    }),
  };
}

/**
 * Reads the configuration of every part and writes nothing. Placeholders replace the secrets that a start would generate.
 * @throws {ConfigurationError} all problems of all parts at once
 */
export function checkBackendConfig(env: NodeJS.ProcessEnv): Omit<BackendConfig, "secrets"> {
  const source = sourceOf(env);
  return readAll({
    store: () => readStoreConfig(source),
    simulator: () => readSimulatorConfig({ ...source, env: withoutDuplicateCameras(env) }),
    broker: () => readBrokerConfig(source),
    bridge: () => readBridgeConfig({ ...source, generated: PLACEHOLDERS }),
    // Includes a 0 that is written as `0.0`.
    unlimited: () =>
      Object.keys(env).filter((name) => /^MAX_/.test(name) && env[name]?.trim() && Number(env[name]) === 0),
    misspelt: () => misspeltSettings(env, SETTINGS),
  });
}

function sourceOf(env: NodeJS.ProcessEnv) {
  return { env, readFile: (path: string) => readFileSync(path, "utf8") };
}

/**
 * With Redis, the default is no simulated camera: every node would simulate the same cameras, and each would disconnect
 * the cameras of the others.
 */
function withoutDuplicateCameras(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return !env.SIMULATOR && (env.REDIS_URL || env.REDIS_URL_FILE) ? { ...env, SIMULATOR: "0" } : env;
}

/** These texts replace the generated secrets while the configuration is only checked. */
const PLACEHOLDERS = { JWT_SECRET: "-".repeat(64), OPERATOR_KEY: "-".repeat(64) };

/** The ids of the simulated cameras and of the simulated service. */
export function simulatedIds({ SIMULATOR }: SimulatorConfig): string[] {
  if (SIMULATOR === 0) return [];
  return [
    ...PLACES.slice(0, SIMULATOR).map(({ id }) => id),
    ...Array.from(
      { length: Math.max(0, SIMULATOR - PLACES.length) },
      (_, index) => `camera-${index + PLACES.length + 1}`,
    ),
    SERVICE_ID,
  ];
}

/** The first simulated cameras. Further ones are called `camera-3`, `camera-4` and so on. */
export const PLACES = [
  { id: "north", name: "North ridge" },
  { id: "south", name: "South face" },
] as const;
