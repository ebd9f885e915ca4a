import type { IncomingMessage } from "node:http";
import type { Origins } from "../../platform/origins.ts";

/** Any limit may be `Infinity`: no limit. */
export interface SocketsConfig {
  /** The longest time from the upgrade to the end of authentication. */
  authTimeoutMs: number;
  pingIntervalMs: number;
  maxConnections: number;
  maxConnectionsPerUser: number;
  maxConnectionsPerAddress: number;
  /** The most connections without a verified token. */
  maxUnauthenticated: number;
  maxUnauthenticatedPerAddress: number;
  /** The most new connections from one address. */
  maxConnectsPerMinute: number;
  /** The most connections that one user authenticates. */
  maxUserConnectsPerMinute: number;
  /** The most connections of one address to the HTTP port that are not WebSockets. */
  maxHttpConnectionsPerAddress: number;
  /** The unsent bytes of one socket above which its events wait in the journal. */
  maxQueuedBytes: number;
  /** The shortest time from one flush to the next. */
  flushIntervalMs: number;
  /** A client that reads nothing of its queue for this long is disconnected. */
  drainTimeoutMs: number;
  /** The most channels of one connection. */
  maxSubscriptions: number;
  /** Messages of one connection, in the long run. */
  maxMessagesPerSecond: number;
  /** Messages of one connection at once. Default: twice `maxMessagesPerSecond`. */
  messageBurst?: number;
  /** The origins whose pages may connect. */
  origins: Pick<Origins, "allows" | "noteRefusal">;
  /** How long before its token expires a client is warned. Default 60,000. */
  tokenWarningMs?: number;
  /** How long a connection lives after its token has expired. Default 25,000. */
  tokenGraceMs?: number;
  /** The client's address, as seen through trusted proxies. */
  addressOf: (request: IncomingMessage) => string;
  /** Whether the address belongs to a trusted proxy, whose HTTP connections are not limited: it connects for many. */
  isTrustedProxy: (address: string) => boolean;
}

export function withDefaults(config: SocketsConfig): Required<SocketsConfig> {
  return {
    messageBurst: 2 * config.maxMessagesPerSecond,
    tokenWarningMs: 60_000,
    tokenGraceMs: 25_000,
    ...config,
  };
}
