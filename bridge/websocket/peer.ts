import type { Connection } from "./connection.ts";
import type { MessageBytes } from "./messages.ts";
import type { Session } from "./session.ts";

/** A message that arrived before its client was admitted. */
export type EarlyMessage = [bytes: MessageBytes, isBinary: boolean];

/**
 * How far a client has come.
 *
 * ```
 *   connected ──first frame──▶ verifying ──token valid──▶ admitting ──below the limits──▶ authenticated
 * ```
 *
 * In every stage, the connection may also be closed.
 */
export type Stage =
  | { readonly kind: "connected" }
  /** The key for the client's token is being fetched: the client may still be anybody. */
  | { readonly kind: "verifying"; readonly early: EarlyMessage[] }
  /** The connections of the client's user are being counted, perhaps in Redis. */
  | { readonly kind: "admitting"; readonly early: EarlyMessage[] }
  /** `leave` ends the counting of this connection among those of its user. */
  | { readonly kind: "authenticated"; readonly session: Session; readonly leave: () => void };

const CONNECTED: Stage = { kind: "connected" };

/** A connection from its upgrade to its end, authenticated or not. */
export class Peer {
  readonly connection: Connection;
  stage: Stage = CONNECTED;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  get session(): Session | undefined {
    return this.stage.kind === "authenticated" ? this.stage.session : undefined;
  }

  /** Whether the client's token was found valid. */
  get isKnown(): boolean {
    return this.stage.kind === "admitting" || this.stage.kind === "authenticated";
  }
}
