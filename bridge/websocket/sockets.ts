import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { CloseCode } from "../../contract/codes.ts";
import type { BackfillStats } from "../delivery/backfill.ts";
import type { FanOutStats } from "../delivery/fan-out.ts";

/** The WebSocket server, as the rest of the bridge sees it. */
export interface Sockets {
  /**
   * Counts a connection to the port, which HTTP shares. Call it before anything is allocated for the connection.
   * @returns false when its address has too many connections; the socket is then destroyed
   */
  admit(socket: Socket): boolean;
  /** Accepts or refuses the WebSocket that a request asks for at the right path. Never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  connections(): ConnectionInfo[];
  stats(): SocketsStats;
  /** Subscriptions by channel. */
  channelCounts(): Record<string, number>;
  subscribers(channel: string): number;
  /** @param code default: `revoked` @returns false when there is no such connection */
  closeConnection(connectionId: string, code?: CloseCode): boolean;
  /** Closes the connections whose token matches every given field. @returns how many */
  revoke(match: RevokedTokens): number;
  /**
   * Re-checks every session. A session whose token is no longer valid is closed with 4005. A session whose permissions
   * have changed receives the new ones.
   */
  review(): void;
  /**
   * Refuses new connections, and closes the present ones a few at a time, so that their clients do not all connect to
   * another node at one moment. Connections that remain at the end are left to {@link Sockets.stop}. Idempotent.
   * @param spreadMs the longest time it may take; a few connections take less
   */
  drain(spreadMs: number): Promise<void>;
  /** Closes all remaining connections. Resolves within a second. Idempotent. */
  stop(): Promise<void>;
}

/** An authenticated connection. */
export interface ConnectionInfo {
  connection_id: string;
  user_id: string;
  /** RFC 3339. */
  connected_at: string;
  ip_address: string;
  /** When the client was last heard, RFC 3339. */
  last_seen: string;
  channels: string[];
  /** Whether the socket was full, so that the events for this connection wait in the journal. */
  lagging: boolean;
  queued_bytes: number;
}

export interface SocketsStats {
  /** Authenticated. */
  connections: number;
  unauthenticated: number;
  users: number;
  /** Authenticated connections that are not lagging and answer pings. */
  healthy: number;
  lagging: number;
  fanOut: FanOutStats;
  catchUp: BackfillStats;
  /** Connections opened since the start. */
  opened: number;
  /** Upgrades refused since the start. */
  refused: number;
  /** By close code: those of the contract, some of RFC 6455, and `other`. */
  closes: Record<string, number>;
}

export interface RevokedTokens {
  tokenId?: string;
  userId?: string;
  /** Milliseconds since 1970. */
  issuedBefore?: number;
}
