import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { z } from "zod";
import type { BackfillStats } from "../delivery/backfill.ts";
import type { Delivery } from "../delivery/delivery.ts";
import type { FanOutStats } from "../delivery/fan-out.ts";

/** The WebSocket server. */
export interface Sockets {
  /** Counts a connection to the port. Destroys it and returns false if its address has too many connections. */
  admit(socket: Socket): boolean;
  /** Accepts or refuses a WebSocket. Never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  connections(): ConnectionInfo[];
  stats(): SocketsStats;
  channelCounts(): Record<string, number>;
  subscribers(channel: string): number;
  liveDeliveryOf: Delivery["liveDeliveryOf"];
  /** @returns false if there is no such connection */
  closeConnection(connectionId: string): boolean;
  /** Re-checks every session: closes it with 4005 if its token is invalid now, and applies changed permissions. */
  review(): void;
  /**
   * Refuses new connections, and closes the open ones a few at a time. Connections that remain at the end are left to
   * {@link Sockets.stop}. Idempotent.
   * @param spreadMs the longest duration; a few connections take less
   */
  drain(spreadMs: number): Promise<void>;
  /** Closes all remaining connections. Resolves within a second. Idempotent. */
  stop(): Promise<void>;
}

/** An authenticated connection. Times are RFC 3339. */
export const connectionInfoSchema = z.object({
  connection_id: z.string(),
  user_id: z.string(),
  connected_at: z.string(),
  ip_address: z.string(),
  /** When the client was last heard. */
  last_seen: z.string(),
  channels: z.array(z.string()),
  /** Whether the socket was full, so that the events for this connection wait in the journal. */
  lagging: z.boolean(),
  queued_bytes: z.number(),
});
export type ConnectionInfo = z.infer<typeof connectionInfoSchema>;

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
  /** Connections since the start. */
  opened: number;
  /** Refused upgrades since the start. */
  refused: number;
  /** By close code: those of the contract, some of RFC 6455, and `other`. */
  closes: Record<string, number>;
}
