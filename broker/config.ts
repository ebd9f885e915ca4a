import { z } from "zod";
import {
  ConfigurationError,
  type EnvironmentSource,
  limitSetting,
  limitVariable,
  portVariable,
  positiveVariable,
  readEnvironment,
  setting,
  sharedSettings,
  times,
  type ValuesOf,
  variablesOf,
} from "../platform/config.ts";
import { serverSettings } from "../platform/server-settings.ts";

/**
 * In descriptions, a client is one connection, and a user is the identity of a client, such as a person or a device.
 */
export const brokerSettings = {
  MQTT_PORT: setting("Port of MQTT over TCP.", portVariable.default(1883)),
  MQTT_TLS_PORT: setting(
    "Port of MQTT over TLS. Opened if `TLS_CERT` and `TLS_KEY` are set.",
    portVariable.default(8883),
  ),
  MQTT_WS_PORT: setting("Port of MQTT over WebSocket.", portVariable.default(8083)),
  TLS_CERT: setting("PEM file with the certificate for MQTT over TLS.", z.string().optional()),
  TLS_KEY: setting("PEM file with the key of that certificate.", z.string().optional()),
  TLS_CLIENT_CA: setting(
    "PEM file with the authorities of client certificates. If it is set, MQTT over TLS requires a certificate of one of them.",
    z.string().optional(),
  ),
  MQTT_CONNECT_TIMEOUT_MS: setting(
    "Time from the opening of an MQTT connection to its CONNACK.",
    positiveVariable.default(10_000),
  ),
  MQTT_DRAIN_TIMEOUT_MS: setting(
    "An MQTT client that reads nothing for this long is disconnected.",
    positiveVariable.default(30_000),
  ),
  MQTT_HEARTBEAT_MS: setting(
    "Interval of a node's heartbeat. The wills of clients whose node crashed are published after four intervals, except " +
      "commands. A client over WebSocket without keep-alive is pinged at this interval.",
    positiveVariable.default(60_000),
  ),
  MQTT_SESSION_HOURS: limitSetting(168, "Time for which an MQTT session outlives its last connection.", {
    mustAgree: true,
  }),
  MAX_MQTT_KEEPALIVE_SECONDS: setting(
    "The longest keep-alive. A client may have none (0): TCP is then probed after a minute of silence, and a WebSocket is " +
      "pinged every `MQTT_HEARTBEAT_MS`.",
    limitVariable.default(1200),
  ),
  MAX_CONNECT_BYTES: setting(
    "Size of an MQTT CONNECT, will and token included. It costs memory before its sender is authenticated.",
    limitVariable.default(4096),
  ),
  MAX_MQTT_PROPERTIES_BYTES: limitSetting(
    8192,
    "Size of the MQTT 5 properties that are kept with one publication or will.",
    {
      mustAgree: true,
    },
  ),
  MAX_MQTT_CLIENTS: limitSetting(10_000, "MQTT connections, authenticated or not."),
  MAX_MQTT_CONNECTIONS_PER_ADDRESS: setting(
    "MQTT connections from one address. Many cameras may share a router.",
    limitVariable.default(1000),
  ),
  MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS: setting(
    "MQTT connections from one address whose CONNECT is not answered yet. Each has `MQTT_CONNECT_TIMEOUT_MS` for it. The " +
      "other connections of the address are left to authenticated clients behind the same router.",
    limitVariable,
    times(0.5, "MAX_MQTT_CONNECTIONS_PER_ADDRESS", "half of"),
  ),
  MAX_MQTT_CONNECTIONS_PER_USER: limitSetting(100, "MQTT connections of one user, device or service at one node."),
  MAX_MQTT_CONNECTS_PER_MINUTE: setting(
    "New MQTT connections from one address in a minute. This also limits guesses at secrets.",
    limitVariable.default(3000),
  ),
  MAX_MQTT_USER_CONNECTS_PER_MINUTE: setting(
    "MQTT connections that one user, device or service makes in a minute at one node.",
    limitVariable,
    times(10, "MAX_MQTT_CONNECTIONS_PER_USER", "ten times"),
  ),
  MAX_MQTT_MESSAGES_PER_SECOND: setting(
    "Packets of one user, device or service in a second, where each filter of a SUBSCRIBE or UNSUBSCRIBE counts. A rested " +
      "sender may have a burst of twice as many, at twice the rate. Above this, packets are read more slowly and nothing is lost.",
    limitVariable.default(1000),
  ),
  MAX_MQTT_BYTES_PER_SECOND: setting(
    "Bytes of those packets in a second, and of the retained messages that its subscriptions bring; twice as many at once. " +
      "Above this, packets are read more slowly. The default is 8 Mbit/s: states of 200 KB, which are written four times, " +
      "are read five times a second.",
    limitVariable.default(1_048_576),
  ),
  MAX_MQTT_PENDING_BYTES: setting(
    "Payload bytes of one user, device or service on their way to the disk: two of the largest messages by default. Above " +
      "this, packets are read more slowly.",
    limitVariable.default(524_288),
  ),
  MAX_MQTT_SUBSCRIPTIONS: limitSetting(
    500,
    "Filters of one MQTT client, and of one SUBSCRIBE or UNSUBSCRIBE. Home Assistant sends up to 500 filters in one SUBSCRIBE.",
    { mustAgree: true },
  ),
  MAX_MQTT_WILDCARDS: limitSetting(
    100,
    "Filters with `+` or `#` of one MQTT client, which are compared with each of its messages. Home Assistant has about 80.",
    { mustAgree: true },
  ),
  MAX_MQTT_SUBSCRIPTIONS_PER_USER: limitSetting(
    10_000,
    "Filters of all MQTT clients of one user, device or service at one node. Each takes about 2 KB of memory.",
  ),
  MAX_MQTT_SESSIONS: setting(
    "MQTT sessions that are kept for clients that connect with clean session off.",
    limitVariable.default(10_000),
    { mustAgree: true },
  ),
  MAX_MQTT_SESSIONS_PER_USER: setting(
    "Kept MQTT sessions of one user, device or service. Further ones are answered with CONNACK 3. Several nodes that open " +
      "some at the same moment may exceed it by a few.",
    limitVariable.default(100),
    { mustAgree: true },
  ),
  MAX_MQTT_SHARE_GROUPS: setting(
    "Groups of shared subscriptions (`$share/NAME/FILTER`). Each costs a comparison for every message.",
    limitVariable.default(1000),
    { mustAgree: true },
  ),
  MAX_MQTT_SHARE_GROUPS_PER_USER: limitSetting(
    20,
    "Groups of shared subscriptions of one user, device or service. Several nodes that open some within a second may " +
      "together exceed it.",
    { mustAgree: true },
  ),
  MAX_MQTT_UNSENT_BYTES: setting(
    "Bytes sent to one MQTT client that its link has not taken yet. Above this, a message of QoS 1 or 2 ends the connection.",
    limitVariable.default(4_194_304),
  ),
  MAX_OFFLINE_MESSAGES: limitSetting(10_000, "Messages that wait for one MQTT session whose client is disconnected.", {
    mustAgree: true,
  }),
  MAX_OFFLINE_BYTES: limitSetting(33_554_432, "Size of those messages on disk.", { mustAgree: true }),
  MAX_OFFLINE_LOG_BYTES: setting(
    "Size of the messages that wait for all MQTT sessions together. Sessions that wait for the same message share it. " +
      "Above this, the oldest messages are dropped. The default has room for 32 sessions with different filters that " +
      "each wait for `MAX_OFFLINE_BYTES`.",
    limitVariable.default(1_073_741_824),
    { mustAgree: true },
  ),
  MAX_OFFLINE_HOURS: limitSetting(168, "Age of a message that waits for an MQTT session. Older ones are dropped.", {
    mustAgree: true,
  }),
  MAX_RETAINED_MESSAGES: setting(
    "Topics with a retained message. Further messages are delivered and not retained.",
    limitVariable.default(100_000),
    { mustAgree: true },
  ),
  MAX_RETAINED_MESSAGES_PER_DEVICE: limitSetting(1000, "Topics with a retained message below one camera or service.", {
    mustAgree: true,
  }),
  MAX_RETAINED_BYTES: setting(
    "Bytes of the payloads and MQTT 5 properties of all retained messages. Further messages are delivered and not retained. Those that dashboards show " +
      "are in memory: with the default, a server with a heap of 512 MB can start with all of them.",
    limitVariable.default(67_108_864),
    { mustAgree: true },
  ),
  MAX_RETAINED_BYTES_PER_DEVICE: setting(
    "Bytes of the payloads and MQTT 5 properties of the retained messages below one camera or service: 16 of the largest " +
      "payloads by default.",
    limitVariable.default(4_194_304),
    { mustAgree: true },
  ),
};

const allSettings = { ...serverSettings, ...brokerSettings };

export const BROKER_VARIABLES: readonly string[] = variablesOf(allSettings);

/** A limit is `Infinity` when its variable is 0. */
export type BrokerConfig = ReturnType<typeof readBrokerConfig>;

/** @throws {ConfigurationError} */
export function readBrokerConfig(source: EnvironmentSource) {
  const read = readEnvironment(allSettings, source);
  return {
    host: read.HOST,
    mqttPort: read.MQTT_PORT,
    tls: tlsOf(read),
    webSocketPort: read.MQTT_WS_PORT,
    allowedOrigins: read.ALLOWED_ORIGINS,
    /** Sessions and retained messages are kept in the folder `mqtt` below this path. */
    dataPath: read.DATA_PATH,
    topicRoot: read.TOPIC_ROOT,
    /** The settings that must be the same at all nodes. */
    shared: sharedSettings(allSettings, read),
    maxPayloadBytes: read.MAX_PAYLOAD_BYTES,
    maxPropertiesBytes: read.MAX_MQTT_PROPERTIES_BYTES,
    maxConnectBytes: read.MAX_CONNECT_BYTES,
    maxClients: read.MAX_MQTT_CLIENTS,
    maxConnectionsPerAddress: read.MAX_MQTT_CONNECTIONS_PER_ADDRESS,
    maxUnauthenticatedPerAddress: read.MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS,
    maxConnectionsPerUser: read.MAX_MQTT_CONNECTIONS_PER_USER,
    maxConnectsPerMinute: read.MAX_MQTT_CONNECTS_PER_MINUTE,
    maxUserConnectsPerMinute: read.MAX_MQTT_USER_CONNECTS_PER_MINUTE,
    /** The limits of one user, device or service, over all of its connections to this node. */
    rateLimits: {
      messagesPerSecond: read.MAX_MQTT_MESSAGES_PER_SECOND,
      bytesPerSecond: read.MAX_MQTT_BYTES_PER_SECOND,
      pendingBytes: read.MAX_MQTT_PENDING_BYTES,
    },
    maxSubscriptions: read.MAX_MQTT_SUBSCRIPTIONS,
    maxWildcards: read.MAX_MQTT_WILDCARDS,
    maxSubscriptionsPerUser: read.MAX_MQTT_SUBSCRIPTIONS_PER_USER,
    maxSessions: read.MAX_MQTT_SESSIONS,
    maxSessionsPerUser: read.MAX_MQTT_SESSIONS_PER_USER,
    maxShareGroups: read.MAX_MQTT_SHARE_GROUPS,
    maxShareGroupsPerUser: read.MAX_MQTT_SHARE_GROUPS_PER_USER,
    maxQueuedBytes: read.MAX_QUEUED_BYTES,
    maxUnsentBytes: read.MAX_MQTT_UNSENT_BYTES,
    maxOfflineMessages: read.MAX_OFFLINE_MESSAGES,
    maxOfflineBytes: read.MAX_OFFLINE_BYTES,
    maxOfflineLogBytes: read.MAX_OFFLINE_LOG_BYTES,
    maxOfflineHours: read.MAX_OFFLINE_HOURS,
    maxRetainedMessages: read.MAX_RETAINED_MESSAGES,
    maxRetainedPerDevice: read.MAX_RETAINED_MESSAGES_PER_DEVICE,
    maxRetainedBytes: read.MAX_RETAINED_BYTES,
    maxRetainedBytesPerDevice: read.MAX_RETAINED_BYTES_PER_DEVICE,
    connectTimeoutMs: read.MQTT_CONNECT_TIMEOUT_MS,
    drainTimeoutMs: read.MQTT_DRAIN_TIMEOUT_MS,
    heartbeatMs: read.MQTT_HEARTBEAT_MS,
    sessionHours: read.MQTT_SESSION_HOURS,
    maxKeepaliveSeconds: read.MAX_MQTT_KEEPALIVE_SECONDS,
  };
}

function tlsOf(read: ValuesOf<typeof allSettings>) {
  const { MQTT_TLS_PORT: port, TLS_CERT: certPath, TLS_KEY: keyPath, TLS_CLIENT_CA: clientCaPath } = read;
  if (certPath !== undefined && keyPath !== undefined) return { port, certPath, keyPath, clientCaPath };
  if (certPath !== undefined || keyPath !== undefined) {
    const [given, missing] = certPath === undefined ? ["TLS_KEY", "TLS_CERT"] : ["TLS_CERT", "TLS_KEY"];
    throw new ConfigurationError([`${missing}: must be set too when ${given} is: MQTT over TLS needs both files`]);
  }
  if (clientCaPath === undefined) return undefined;
  const problem = "TLS_CLIENT_CA: needs TLS_CERT and TLS_KEY: certificates are asked for by MQTT over TLS";
  throw new ConfigurationError([problem]);
}
