import { z } from "zod";
import { DEFAULT_TOPIC_ROOT, topicProblem } from "../contract/topics.ts";
import {
  ConfigurationError,
  countVariable,
  type EnvironmentSource,
  limitVariable,
  listVariable,
  portVariable,
  readEnvironment,
} from "../platform/config.ts";
import { normalOrigin } from "../platform/origins.ts";
import type { ListenersConfig } from "./listeners/listeners.ts";

const durationVariable = countVariable.refine((value) => value > 0, "must be more than 0");

const schema = z.object({
  HOST: z.string().default("127.0.0.1"),
  MQTT_PORT: portVariable.default(1883),
  MQTT_TLS_PORT: portVariable.default(8883),
  TLS_CERT: z.string().optional(),
  TLS_KEY: z.string().optional(),
  TLS_CLIENT_CA: z.string().optional(),
  MQTT_WS_PORT: portVariable.default(8083),
  // What is no origin the bridge names; `*` stays as it is.
  ALLOWED_ORIGINS: listVariable.transform((origins) => origins.map((text) => normalOrigin(text) ?? text)).default([]),
  DATA_PATH: z.string().default("./data"),
  TOPIC_ROOT: z
    .string()
    .superRefine((root, context) => {
      const problem = topicProblem(root);
      if (problem !== undefined) context.addIssue({ code: "custom", message: problem });
    })
    .default(DEFAULT_TOPIC_ROOT),
  MAX_PAYLOAD_BYTES: limitVariable.default(262_144),
  MAX_CONNECT_BYTES: limitVariable.default(4096),
  MAX_MQTT_CLIENTS: limitVariable.default(10_000),
  MAX_MQTT_CONNECTIONS_PER_ADDRESS: limitVariable.default(1000),
  MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS: limitVariable.optional(),
  MAX_MQTT_CONNECTIONS_PER_USER: limitVariable.default(100),
  MAX_MQTT_CONNECTS_PER_MINUTE: limitVariable.default(3000),
  MAX_MQTT_USER_CONNECTS_PER_MINUTE: limitVariable.optional(),
  MAX_MQTT_MESSAGES_PER_SECOND: limitVariable.default(1000),
  MAX_MQTT_BYTES_PER_SECOND: limitVariable.default(1_048_576),
  MAX_MQTT_PENDING_BYTES: limitVariable.default(524_288),
  MAX_MQTT_SUBSCRIPTIONS: limitVariable.default(100),
  MAX_MQTT_SESSIONS: limitVariable.default(10_000),
  MAX_MQTT_SESSIONS_PER_USER: limitVariable.default(100),
  MAX_QUEUED_BYTES: limitVariable.default(262_144),
  MAX_MQTT_UNSENT_BYTES: limitVariable.default(4_194_304),
  MAX_OFFLINE_MESSAGES: limitVariable.default(10_000),
  MAX_OFFLINE_BYTES: limitVariable.default(33_554_432),
  MAX_RETAINED_MESSAGES: limitVariable.default(100_000),
  MAX_RETAINED_MESSAGES_PER_DEVICE: limitVariable.default(1000),
  MAX_RETAINED_BYTES: limitVariable.default(67_108_864),
  MAX_RETAINED_BYTES_PER_DEVICE: limitVariable.default(4_194_304),
  MQTT_CONNECT_TIMEOUT_MS: durationVariable.default(10_000),
  MQTT_DRAIN_TIMEOUT_MS: durationVariable.default(30_000),
  MQTT_HEARTBEAT_MS: durationVariable.default(60_000),
  MQTT_SESSION_HOURS: limitVariable.default(168),
  MAX_MQTT_KEEPALIVE_SECONDS: limitVariable.default(1200),
});

/** The names of all settings that the broker reads. */
export const BROKER_VARIABLES: readonly string[] = Object.keys(schema.shape);

/** Every limit is `Infinity` when its variable is 0. Times in milliseconds unless the name says otherwise. */
export interface BrokerConfig extends ListenersConfig {
  /** `DATA_PATH`: sessions and retained messages are kept in its folder `mqtt`. Default ./data. */
  dataPath: string;
  /** `TOPIC_ROOT`: where this system's topics begin. Default skylapse/v1. */
  topicRoot: string;
  /** `MAX_PAYLOAD_BYTES`: the largest payload of a publication or will. Default 256 KiB. */
  maxPayloadBytes: number;
  /** `MAX_CONNECT_BYTES`: the largest CONNECT, will and token included. Default 4 KiB: it costs memory before anybody is known. */
  maxConnectBytes: number;
  /** `MAX_MQTT_CLIENTS`: open connections, authenticated or not. Default 10,000. */
  maxClients: number;
  /** `MAX_MQTT_CONNECTIONS_PER_ADDRESS`: of those, from one address. Default 1,000: many cameras share one router. */
  maxConnectionsPerAddress: number;
  /** `MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS`: of those, whose CONNECT is not answered yet. Default half, so that others behind one router find a place. */
  maxUnauthenticatedPerAddress: number;
  /** `MAX_MQTT_CONNECTIONS_PER_USER`: connections of one user, device or service. Default 100. */
  maxConnectionsPerUser: number;
  /** `MAX_MQTT_CONNECTS_PER_MINUTE`: new connections from one address, so many guesses at a secret too. Default 3,000. */
  maxConnectsPerMinute: number;
  /** `MAX_MQTT_USER_CONNECTS_PER_MINUTE`: of one user, device or service. Default: ten times `maxConnectionsPerUser`. */
  maxUserConnectsPerMinute: number;
  /** What one user, device or service may send over all of its connections; beyond, it is read from more slowly and nothing is lost. */
  pace: {
    /** `MAX_MQTT_MESSAGES_PER_SECOND`: packets, and each filter of a SUBSCRIBE or UNSUBSCRIBE; a burst of twice as many at twice the rate. Default 1,000. */
    messagesPerSecond: number;
    /**
     * `MAX_MQTT_BYTES_PER_SECOND`: bytes of these packets, and of the retained messages that its subscriptions ask for; twice as
     * many at once. Default 1 MiB, which is 8 Mbit/s: states of 200 KB, which are written four times, are read five times a second.
     */
    bytesPerSecond: number;
    /** `MAX_MQTT_PENDING_BYTES`: payload bytes on their way into the store. Default 512 KiB: two of the largest messages. */
    pendingBytes: number;
  };
  /** `MAX_MQTT_SUBSCRIPTIONS`: filters of one client, and those of one SUBSCRIBE or UNSUBSCRIBE. Default 100. */
  maxSubscriptions: number;
  /** `MAX_MQTT_SESSIONS`: sessions kept for clients that connect with clean session off. Default 10,000. */
  maxSessions: number;
  /** `MAX_MQTT_SESSIONS_PER_USER`: of those, of one user, device or service. Default 100, as many as its connections. */
  maxSessionsPerUser: number;
  /** `MAX_QUEUED_BYTES`: waiting for one client's link, beyond which it is given no more messages of QoS 0. Default 256 KiB. */
  maxQueuedBytes: number;
  /** `MAX_MQTT_UNSENT_BYTES`: waiting for one client's link, beyond which a message of QoS 1 or 2 ends its connection. Default 4 MiB. */
  maxUnsentBytes: number;
  /** `MAX_OFFLINE_MESSAGES`: messages kept for one session. Default 10,000. */
  maxOfflineMessages: number;
  /** `MAX_OFFLINE_BYTES`: their size on disk. Default 32 MiB. */
  maxOfflineBytes: number;
  /** `MAX_RETAINED_MESSAGES`: topics with a retained message. Default 100,000. */
  maxRetainedMessages: number;
  /** `MAX_RETAINED_MESSAGES_PER_DEVICE`: of those, below one camera or service. Default 1,000. */
  maxRetainedPerDevice: number;
  /**
   * `MAX_RETAINED_BYTES`: payload bytes of all retained messages. Default 64 MiB: what dashboards are shown of them is in memory,
   * and a server with a heap of 512 MB is to start with it.
   */
  maxRetainedBytes: number;
  /** `MAX_RETAINED_BYTES_PER_DEVICE`: of those, below one camera or service. Default 4 MiB: 16 of the largest. */
  maxRetainedBytesPerDevice: number;
  /** `MQTT_DRAIN_TIMEOUT_MS`: how long a client may leave what is sent to it unread. Default 30 s, as for dashboards. */
  drainTimeoutMs: number;
  /** `MQTT_HEARTBEAT_MS`: the wills of clients that a crash cut off are published after four of these. Default 60 s. */
  heartbeatMs: number;
  /** `MQTT_SESSION_HOURS`: how long a session outlives its last connection. Default 168, a week. */
  sessionHours: number;
  /** `MAX_MQTT_KEEPALIVE_SECONDS`: the longest keep-alive. Default 1,200. A client may have none (0): see `link-watch.ts`. */
  maxKeepaliveSeconds: number;
}

/**
 * Reads the broker's configuration.
 * @throws {ConfigurationError} every problem at once, each beginning with the variable's name
 */
export function readBrokerConfig(source: Omit<EnvironmentSource, "secrets">): BrokerConfig {
  const read = readEnvironment(schema, source);
  if ((read.TLS_CERT === undefined) !== (read.TLS_KEY === undefined)) {
    const [given, missing] = read.TLS_CERT === undefined ? ["TLS_KEY", "TLS_CERT"] : ["TLS_CERT", "TLS_KEY"];
    throw new ConfigurationError([`${missing}: must be set too when ${given} is: MQTT over TLS needs both files`]);
  }
  // Without them there would be no MQTT over TLS at all, and nobody would be asked for a certificate.
  if (read.TLS_CLIENT_CA !== undefined && read.TLS_CERT === undefined)
    throw new ConfigurationError([
      "TLS_CLIENT_CA: needs TLS_CERT and TLS_KEY: certificates are asked for by MQTT over TLS",
    ]);
  return {
    host: read.HOST,
    mqttPort: read.MQTT_PORT,
    tls:
      read.TLS_CERT === undefined || read.TLS_KEY === undefined
        ? undefined
        : {
            port: read.MQTT_TLS_PORT,
            certPath: read.TLS_CERT,
            keyPath: read.TLS_KEY,
            clientCaPath: read.TLS_CLIENT_CA,
          },
    webSocketPort: read.MQTT_WS_PORT,
    allowedOrigins: read.ALLOWED_ORIGINS,
    dataPath: read.DATA_PATH,
    topicRoot: read.TOPIC_ROOT,
    maxPayloadBytes: read.MAX_PAYLOAD_BYTES,
    maxConnectBytes: read.MAX_CONNECT_BYTES,
    maxClients: read.MAX_MQTT_CLIENTS,
    maxConnectionsPerAddress: read.MAX_MQTT_CONNECTIONS_PER_ADDRESS,
    maxUnauthenticatedPerAddress:
      read.MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS ?? Math.ceil(read.MAX_MQTT_CONNECTIONS_PER_ADDRESS / 2),
    maxConnectionsPerUser: read.MAX_MQTT_CONNECTIONS_PER_USER,
    maxConnectsPerMinute: read.MAX_MQTT_CONNECTS_PER_MINUTE,
    maxUserConnectsPerMinute: read.MAX_MQTT_USER_CONNECTS_PER_MINUTE ?? 10 * read.MAX_MQTT_CONNECTIONS_PER_USER,
    pace: {
      messagesPerSecond: read.MAX_MQTT_MESSAGES_PER_SECOND,
      bytesPerSecond: read.MAX_MQTT_BYTES_PER_SECOND,
      pendingBytes: read.MAX_MQTT_PENDING_BYTES,
    },
    maxSubscriptions: read.MAX_MQTT_SUBSCRIPTIONS,
    maxSessions: read.MAX_MQTT_SESSIONS,
    maxSessionsPerUser: read.MAX_MQTT_SESSIONS_PER_USER,
    maxQueuedBytes: read.MAX_QUEUED_BYTES,
    maxUnsentBytes: read.MAX_MQTT_UNSENT_BYTES,
    maxOfflineMessages: read.MAX_OFFLINE_MESSAGES,
    maxOfflineBytes: read.MAX_OFFLINE_BYTES,
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
