import type { Duplex } from "node:stream";

/** Why the server ends a connection. */
export type EndReason =
  /** A newer connection has the client's session. */
  | "taken-over"
  /** The client's token, secret or account is no longer valid. */
  | "revoked"
  | "token-expired"
  /** The session was discarded. */
  | "session-ended"
  /** This node has missed publications: the client reconnects at once, and its session continues. */
  | "reconnect"
  | "stopping";

/** A connection of an MQTT client: Aedes' `Client`, or a client of MQTT 5. */
export interface BrokerClient {
  /** The session key, from authentication on. */
  readonly id: string;
  /** The session ends with the connection. */
  readonly clean: boolean;
  readonly closed: boolean;
  readonly conn: Duplex;
  close(): void;
  /** Tells an MQTT 5 client the reason, and closes. Undefined: MQTT 3.1.1 has no DISCONNECT from the server. */
  endFor?(reason: EndReason): void;
}

export function endClient(client: BrokerClient, reason: EndReason): void {
  if (client.endFor === undefined) client.close();
  else client.endFor(reason);
}
