import type { IncomingMessage } from "node:http";
import { CloseCode } from "../../contract/codes.ts";
import {
  countVariable,
  limitVariable,
  positiveVariable,
  setting,
  times,
  type ValuesOf,
} from "../../platform/config.ts";
import type { Origins } from "../../platform/origins.ts";
import type { serverSettings } from "../../platform/server-settings.ts";

export const socketSettings = {
  AUTH_TIMEOUT_MS: setting("Time from the opening of a WebSocket to its `auth`.", positiveVariable.default(10_000)),
  PING_INTERVAL_MS: setting(
    "Time between two pings. Two unanswered pings close the connection.",
    positiveVariable.default(25_000),
  ),
  FLUSH_INTERVAL_MS: setting("Shortest time between two writes to one dashboard.", countVariable.default(10)),
  DRAIN_TIMEOUT_MS: setting(
    `A dashboard that reads nothing for this long is closed with ${CloseCode.slow}.`,
    positiveVariable.default(30_000),
  ),
  SHUTDOWN_SPREAD_MS: setting(
    "Time over which the closing of dashboards is spread when the server stops. A second signal ends the server at once.",
    countVariable.max(60_000, "must be at most 60000").default(1_000),
  ),
  MAX_CONNECTIONS: setting("Dashboards.", limitVariable.default(20_000)),
  MAX_CONNECTIONS_PER_USER: setting("Dashboards of one user.", limitVariable.default(5), { mustAgree: true }),
  MAX_CONNECTIONS_PER_ADDRESS: setting("Dashboards from one address.", limitVariable.default(100)),
  MAX_UNAUTHENTICATED: setting(
    "Dashboards that have not shown a token yet. Each has `AUTH_TIMEOUT_MS` and 8 KiB for it.",
    limitVariable.default(2000),
  ),
  MAX_UNAUTHENTICATED_PER_ADDRESS: setting(
    "Dashboards from one address that have not shown a token yet.",
    limitVariable,
    times(0.5, "MAX_CONNECTIONS_PER_ADDRESS", "half of"),
  ),
  MAX_CONNECTS_PER_MINUTE: setting("New dashboards from one address in a minute.", limitVariable.default(3000)),
  MAX_USER_CONNECTS_PER_MINUTE: setting(
    `Dashboards that one user opens in a minute at one node. Further ones are closed with ${CloseCode.connectRate} and try again later.`,
    limitVariable,
    times(20, "MAX_CONNECTIONS_PER_USER", "twenty times"),
  ),
  MAX_HTTP_CONNECTIONS_PER_ADDRESS: setting(
    "Connections from one address to the same port that are not, or not yet, dashboards. A trusted proxy has no limit.",
    limitVariable,
    times(10, "MAX_CONNECTIONS_PER_ADDRESS", "ten times"),
  ),
  MAX_SUBSCRIPTIONS: setting("Channels that one dashboard may subscribe to.", limitVariable.default(128), {
    mustAgree: true,
  }),
  MAX_MESSAGES_PER_SECOND: setting(
    "Frames from one dashboard in a second, and twice as many at once. One user may send `MAX_CONNECTIONS_PER_USER` times " +
      "that. A frame has at most 64 KiB.",
    limitVariable.default(50),
  ),
};

export function socketConfig(read: ValuesOf<typeof socketSettings & Pick<typeof serverSettings, "MAX_QUEUED_BYTES">>) {
  return {
    authTimeoutMs: read.AUTH_TIMEOUT_MS,
    pingIntervalMs: read.PING_INTERVAL_MS,
    maxConnections: read.MAX_CONNECTIONS,
    maxConnectionsPerUser: read.MAX_CONNECTIONS_PER_USER,
    maxConnectionsPerAddress: read.MAX_CONNECTIONS_PER_ADDRESS,
    maxUnauthenticated: read.MAX_UNAUTHENTICATED,
    maxUnauthenticatedPerAddress: read.MAX_UNAUTHENTICATED_PER_ADDRESS,
    maxConnectsPerMinute: read.MAX_CONNECTS_PER_MINUTE,
    maxUserConnectsPerMinute: read.MAX_USER_CONNECTS_PER_MINUTE,
    maxHttpConnectionsPerAddress: read.MAX_HTTP_CONNECTIONS_PER_ADDRESS,
    maxQueuedBytes: read.MAX_QUEUED_BYTES,
    flushIntervalMs: read.FLUSH_INTERVAL_MS,
    drainTimeoutMs: read.DRAIN_TIMEOUT_MS,
    maxSubscriptions: read.MAX_SUBSCRIPTIONS,
    maxMessagesPerSecond: read.MAX_MESSAGES_PER_SECOND,
  };
}

/** `Infinity` disables a limit. */
export interface SocketsConfig extends ReturnType<typeof socketConfig> {
  /** The most messages of one connection at once. Default: twice `maxMessagesPerSecond`. */
  messageBurst?: number;
  origins: Pick<Origins, "allows" | "noteRefusal">;
  /** How long before the expiry of its token a client is warned. Default 60,000. */
  tokenWarningMs?: number;
  /** How long a connection lives after its token has expired. Default 25,000. */
  tokenGraceMs?: number;
  /** The client's address, as seen through trusted proxies. */
  addressOf: (request: IncomingMessage) => string;
  /** Whether an address belongs to a trusted proxy, which may open any number of HTTP connections for its clients. */
  isTrustedProxy: (address: string) => boolean;
}

export function withDefaults(config: SocketsConfig): Required<SocketsConfig> {
  return { messageBurst: 2 * config.maxMessagesPerSecond, tokenWarningMs: 60_000, tokenGraceMs: 25_000, ...config };
}
