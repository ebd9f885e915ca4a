import type { Connection } from "./connection.ts";
import type { MessageBytes } from "./messages.ts";
import type { Session } from "./session.ts";

/** A message that arrived before its client was admitted. */
export type EarlyMessage = [bytes: MessageBytes, isBinary: boolean];

/**
 * The stage of a client. The connection may close in every stage.
 *
 * ```
 *   connected ──first frame──▶ verifying ──token valid──▶ admitting ──below the limits──▶ authenticated
 * ```
 */
type Stage =
  | { readonly kind: "connected" }
  /** The key for the token is being fetched: the client may be anybody. */
  | { readonly kind: "verifying"; readonly early: EarlyMessage[] }
  /** The user's connections are being counted, perhaps in Redis. */
  | { readonly kind: "admitting"; readonly early: EarlyMessage[] }
  /** `leave` stops counting this connection among those of its user. */
  | { readonly kind: "authenticated"; readonly session: Session; readonly leave: () => void };

export class Peer {
  readonly connection: Connection;
  stage: Stage = { kind: "connected" };

  constructor(connection: Connection) {
    this.connection = connection;
  }

  get session(): Session | undefined {
    return this.stage.kind === "authenticated" ? this.stage.session : undefined;
  }

  /** The client's token was found valid. */
  get isKnown(): boolean {
    return this.stage.kind === "admitting" || this.stage.kind === "authenticated";
  }
}
