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
 * In every stage the connection may be closed instead.
 */
export type Stage =
  | { readonly kind: "connected" }
  /** The key of its token is being fetched: the client may still be anybody. */
  | { readonly kind: "verifying"; readonly early: EarlyMessage[] }
  /** Its user's connections are being counted, perhaps in Redis. */
  | { readonly kind: "admitting"; readonly early: EarlyMessage[] }
  /** `leave` gives back its place among its user's connections. */
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

  /** Whether its token was found valid. */
  get isKnown(): boolean {
    return this.stage.kind === "admitting" || this.stage.kind === "authenticated";
  }
}
