import type { IncomingMessage } from "node:http";
import type { Origins } from "../../platform/origins.ts";

export interface SocketsConfig {
  /** The first frame must have come by then. */
  authTimeoutMs: number;
  pingIntervalMs: number;
  /** Limits may be `Infinity`. */
  maxConnections: number;
  maxConnectionsPerUser: number;
  maxConnectionsPerAddress: number;
  /** Connections that have not shown a token yet. Default 2,000. */
  maxUnauthenticated?: number;
  /** Default: half of `maxConnectionsPerAddress`. */
  maxUnauthenticatedPerAddress?: number;
  /** New connections from one address. Default: no limit. */
  maxConnectsPerMinute?: number;
  /** Connections that one user authenticates. Default: twenty times `maxConnectionsPerUser`. */
  maxUserConnectsPerMinute?: number;
  /** Connections of one address to the HTTP port that are no dashboards. Default: ten times `maxConnectionsPerAddress`. */
  maxHttpConnectionsPerAddress?: number;
  /** Unsent bytes of one socket, from which on its events wait in the journal. */
  maxQueuedBytes: number;
  /** The shortest time from one flush to the next. */
  flushIntervalMs: number;
  /** A peer that takes nothing of what waits for it for so long is cut. */
  drainTimeoutMs: number;
  /** Channels of one connection. */
  maxSubscriptions: number;
  /** Frames that one connection may send in a second, in the long run. */
  maxMessagesPerSecond: number;
  /** And at once. Default: twice as many. */
  messageBurst?: number;
  /** Whose pages may connect. */
  origins: Pick<Origins, "allows" | "noteRefusal">;
  /** How long before a token's end its holder is told. Default 60,000. */
  tokenWarningMs?: number;
  /** How long after a token's end the connection lives. Default 25,000. */
  tokenGraceMs?: number;
  /** How long a peer has to answer a close frame. Default 2,000. */
  closeTimeoutMs?: number;
  /** The client's address, seen through trusted proxies. */
  addressOf: (request: IncomingMessage) => string;
  /** Whether the address is a trusted proxy's, which connects for many and is not limited. Default: none is. */
  isTrustedProxy?: (address: string) => boolean;
}

/** Every limit, those that were left out too. */
export function withDefaults(config: SocketsConfig): Required<SocketsConfig> {
  return {
    maxUnauthenticated: 2_000,
    maxUnauthenticatedPerAddress: Math.ceil(config.maxConnectionsPerAddress / 2),
    maxConnectsPerMinute: Number.POSITIVE_INFINITY,
    maxUserConnectsPerMinute: 20 * config.maxConnectionsPerUser,
    maxHttpConnectionsPerAddress: 10 * config.maxConnectionsPerAddress,
    isTrustedProxy: () => false,
    messageBurst: 2 * config.maxMessagesPerSecond,
    tokenWarningMs: 60_000,
    tokenGraceMs: 25_000,
    closeTimeoutMs: 2_000,
    ...config,
  };
}
