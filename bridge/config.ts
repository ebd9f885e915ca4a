import { z } from "zod";
import type { CustomChannels } from "../contract/channels.ts";
import { customChannelsSchema } from "../contract/custom-channels.ts";
import { withoutBom } from "../platform/byte-order-mark.ts";
import { isLoopbackHost } from "../platform/client-addresses.ts";
import {
  ConfigurationError,
  defaultOf,
  type EnvironmentSource,
  plainValue,
  readAll,
  readEnvironment,
  setting,
  sharedSettings,
  variablesOf,
} from "../platform/config.ts";
import { LOG_LEVELS } from "../platform/log-levels.ts";
import { serverSettings } from "../platform/server-settings.ts";
import { authConfig, authSettings, requireOperatorKey } from "./auth/config.ts";
import { oidcSettings } from "./auth/oidc-config.ts";
import { outsideBrokerConfig, outsideBrokerSettings } from "./broker-link/outside/config.ts";
import { alertSettings, alertThresholds } from "./cameras/alerts/config.ts";
import { cameraConfig, cameraSettings } from "./cameras/config.ts";
import { homeAssistantConfig, homeAssistantSettings } from "./cameras/home-assistant/config.ts";
import { commandConfig, commandSettings } from "./commands/config.ts";
import { httpConfig, httpSettings } from "./http/config.ts";
import { archiveConfig, archiveSettings } from "./journal/archive/config.ts";
import { journalConfig, journalSettings } from "./journal/config.ts";
import { previewLimits, previewSettings } from "./previews/config.ts";
import { socketConfig, socketSettings } from "./websocket/config.ts";

export const bridgeSettings = {
  CHANNELS_FILE: setting(
    "A JSON file with channels of your own, such as " +
      '`{"valley": {"filters": ["skylapse/v1/cameras/valley-1/#"], "permission": "valley:read"}}`.',
    z.string().optional(),
    { mustAgree: true },
  ),
  LOG_FORMAT: setting(
    "`json` logs one JSON object in each line, `text` logs lines for people. `auto` is `text` on a terminal, else `json`.",
    z.enum(["auto", "json", "text"], { error: "must be one of auto, json, text" }).default("auto"),
  ),
  LOG_LEVEL: setting(
    "Lowest level of the lines that are logged.",
    z.enum(LOG_LEVELS, { error: `must be one of ${LOG_LEVELS.join(", ")}` }).default("info"),
  ),
};

const allSettings = {
  ...serverSettings,
  ...bridgeSettings,
  ...outsideBrokerSettings,
  ...authSettings,
  ...oidcSettings,
  ...httpSettings,
  ...socketSettings,
  ...journalSettings,
  ...archiveSettings,
  ...cameraSettings,
  ...alertSettings,
  ...homeAssistantSettings,
  ...commandSettings,
  ...previewSettings,
};

/** The predecessor's names for `JWT_SECRET`, which installations still use. */
const JWT_SECRET_ALIASES = ["SKYLAPSE_JWT_SECRET", "REALTIME_JWT_SECRET"] as const;

export const BRIDGE_VARIABLES: readonly string[] = [
  ...variablesOf(allSettings),
  ...JWT_SECRET_ALIASES.flatMap((name) => [name, `${name}_FILE`]),
];

export type BridgeConfig = ReturnType<typeof readBridgeConfig>;

const SECRETS = ["JWT_SECRET", "OPERATOR_KEY"] as const;

interface BridgeConfigSource extends EnvironmentSource {
  /**
   * Secrets that the first start generated, used for secrets that the environment does not set, on loopback only. A
   * server that other machines can reach must not use a secret that nobody chose.
   */
  generated?: Readonly<Partial<Record<(typeof SECRETS)[number], string>>>;
}

/** @throws {ConfigurationError} every problem at once, each beginning with the variable's name */
export function readBridgeConfig({ env, readFile, generated = {} }: BridgeConfigSource) {
  const named = withAliases(env);
  const isPublic = !isLoopbackHost(named.HOST || String(defaultOf(serverSettings.HOST)));
  if (!isPublic) {
    for (const name of SECRETS) if (!named[name] && !named[`${name}_FILE`]) named[name] = generated[name];
  }
  const { read, channels } = readAll({
    read: () => readEnvironment(allSettings, { env: named, readFile }),
    channels: () => readChannels(named, readFile),
    // Without the key, a loopback server still mints tokens for its own machine.
    key: () => (isPublic ? requireOperatorKey(named) : undefined),
  });
  return {
    host: read.HOST,
    /** Only this machine can reach the server. */
    loopback: !isPublic,
    port: read.WS_PORT,
    dataPath: read.DATA_PATH,
    topicRoot: read.TOPIC_ROOT,
    allowedOrigins: read.ALLOWED_ORIGINS,
    trustedProxies: read.TRUSTED_PROXIES,
    channels,
    logLevel: read.LOG_LEVEL,
    logFormat: read.LOG_FORMAT,
    maxPayloadBytes: read.MAX_PAYLOAD_BYTES,
    shutdownSpreadMs: read.SHUTDOWN_SPREAD_MS,
    /** Undefined: the server has its own broker. */
    outsideBroker: outsideBrokerConfig(read),
    ...authConfig(read),
    ...cameraConfig(read),
    http: httpConfig(read),
    sockets: socketConfig(read),
    journal: journalConfig(read),
    archive: archiveConfig(read),
    commands: commandConfig(read),
    previews: previewLimits(read),
    alerts: alertThresholds(read),
    homeAssistant: homeAssistantConfig(read),
    /** The settings that must be the same at all nodes. */
    shared: sharedSettings(allSettings, { ...read, CHANNELS_FILE: channels.size === 0 ? undefined : channels }),
  };
}

function withAliases(env: EnvironmentSource["env"]): Record<string, string | undefined> {
  const named = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, plainValue(value)]));
  const alias = JWT_SECRET_ALIASES.find((name) => env[name] || env[`${name}_FILE`]);
  if (alias !== undefined && !env.JWT_SECRET && !env.JWT_SECRET_FILE) {
    named.JWT_SECRET = env[alias];
    named.JWT_SECRET_FILE = env[`${alias}_FILE`];
  }
  return named;
}

function readChannels(env: EnvironmentSource["env"], readFile: EnvironmentSource["readFile"]): CustomChannels {
  const file = env.CHANNELS_FILE?.trim();
  if (!file) return new Map();
  const problem = (where: string, message: string) => `CHANNELS_FILE: at ${where}: ${message} (in ${file})`;
  const topicRoot = env.TOPIC_ROOT || String(defaultOf(serverSettings.TOPIC_ROOT));
  let content: unknown;
  try {
    content = JSON.parse(withoutBom(readFile(file)));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError([`CHANNELS_FILE: cannot read ${file} as JSON (${reason})`]);
  }
  const result = customChannelsSchema.safeParse(content);
  if (!result.success) {
    const { issues } = result.error;
    throw new ConfigurationError(issues.map(({ path, message }) => problem(path.join(".") || "its top", message)));
  }
  const channels = new Map(Object.entries(result.data));
  const problems = [...channels].flatMap(([name, { filters }]) =>
    filters
      .filter((filter) => filter !== topicRoot && !filter.startsWith(`${topicRoot}/`))
      .map((filter) => `the filter "${filter}" is not below TOPIC_ROOT ${topicRoot}, where every event is`)
      .map((message) => problem(name, message)),
  );
  if (problems.length > 0) throw new ConfigurationError(problems);
  return channels;
}
