import { readFileSync } from "node:fs";
import { BRIDGE_VARIABLES, type BridgeConfig, readBridgeConfig } from "../../bridge/config.ts";
import { BROKER_VARIABLES, type BrokerConfig, brokerSettings, readBrokerConfig } from "../../broker/config.ts";
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

export const SIMULATED_SERVICE_ID = "worker";

export interface BackendConfig {
  bridge: BridgeConfig;
  broker: BrokerConfig;
  simulator: SimulatorConfig;
  store: StoreConfig;
  secrets: Secrets;
  /** Variables of the limits that are set to 0. */
  unlimited: readonly string[];
  /** Variables that are set and have no meaning, because `MQTT_URL` is set too. */
  ignored: readonly string[];
  /** A warning for each variable whose name is nearly that of a setting. */
  misspelt: readonly string[];
}

/**
 * Reads the configuration of every part, and generates the missing secrets.
 * @throws {ConfigurationError} all problems of all parts at once
 * @throws {DataPathError}
 */
export function readBackendConfig(env: NodeJS.ProcessEnv): BackendConfig {
  const checked = checkBackendConfig(env);
  const secrets = loadSecrets(checked.simulator.DATA_PATH, simulatedIds(checked.simulator));
  const generated = { JWT_SECRET: secrets.jwtSecret, OPERATOR_KEY: secrets.operatorKey };
  return { ...checked, secrets, bridge: readBridgeConfig({ ...sourceOf(env), generated }) };
}

/**
 * Reads the configuration of every part and writes nothing. Uses placeholders for missing secrets.
 * @throws {ConfigurationError} all problems of all parts at once
 */
export function checkBackendConfig(env: NodeJS.ProcessEnv): Omit<BackendConfig, "secrets"> {
  const source = sourceOf(env);
  return readAll({
    store: () => readStoreConfig(source),
    simulator: () => readSimulatorConfig({ ...source, env: withoutDuplicateCameras(env) }),
    broker: () => readBrokerConfig(source),
    bridge: () => readBridgeConfig({ ...source, generated: PLACEHOLDERS }),
    // Compared as a number, so that `0.0` is found, too.
    unlimited: () =>
      Object.keys(env).filter((name) => /^MAX_/.test(name) && env[name]?.trim() && Number(env[name]) === 0),
    ignored: () => (hasOutsideBroker(env) ? EMBEDDED_ONLY.filter((name) => env[name]?.trim()) : []),
    misspelt: () => misspeltSettings(env, SETTINGS),
  });
}

function sourceOf(env: NodeJS.ProcessEnv) {
  return { env, readFile: (path: string) => readFileSync(path, "utf8") };
}

/** The life of the server's session at another broker, what may wait for that broker, and what a camera may retain. */
const ALSO_OUTSIDE = [
  ...["MQTT_SESSION_HOURS", "MAX_OFFLINE_LOG_BYTES"],
  ...["MAX_RETAINED_MESSAGES_PER_DEVICE", "MAX_RETAINED_BYTES_PER_DEVICE"],
];
const EMBEDDED_ONLY = [
  ...Object.keys(brokerSettings).filter((name) => !ALSO_OUTSIDE.includes(name)),
  "MQTT_ACCOUNT_LOGIN",
];

function hasOutsideBroker(env: NodeJS.ProcessEnv): boolean {
  return Boolean(env.MQTT_URL?.trim() || env.MQTT_URL_FILE);
}

/**
 * With Redis, SIMULATOR is 0 by default: otherwise each node would disconnect the simulated cameras of the others. With
 * another broker it is 0 too, because that broker does not know the simulated cameras.
 */
function withoutDuplicateCameras(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isShared = env.REDIS_URL || env.REDIS_URL_FILE || hasOutsideBroker(env);
  return !env.SIMULATOR && isShared ? { ...env, SIMULATOR: "0" } : env;
}

const PLACEHOLDERS = { JWT_SECRET: "-".repeat(64), OPERATOR_KEY: "-".repeat(64) };

export function simulatedIds({ SIMULATOR }: SimulatorConfig): string[] {
  if (SIMULATOR === 0) return [];
  return [
    ...Array.from({ length: SIMULATOR }, (_, index) => PLACES[index]?.id ?? `camera-${index + 1}`),
    SIMULATED_SERVICE_ID,
  ];
}

/** The first simulated cameras. The others are called `camera-3`, `camera-4` and so on. */
export const PLACES = [
  { id: "north", name: "North ridge" },
  { id: "south", name: "South face" },
] as const;
