import type { Logger } from "pino";
import { CloseCode } from "../../contract/codes.ts";
import { counted } from "../../platform/counted.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Audit } from "../auth/audit.ts";
import { ProviderUnavailableError } from "../auth/provider.ts";
import { InvalidTokenError, type Tokens } from "../auth/tokens.ts";
import type { ConnectionRegister } from "../cluster/cluster.ts";
import type { Admission } from "./admission.ts";
import type { Connection } from "./connection.ts";
import { readFirstFrame } from "./first-frame.ts";
import type { MessageBytes, RequestId } from "./messages.ts";
import { type OutageNotice, STORE_OUTAGE } from "./outage-notice.ts";
import type { EarlyMessage, Peer } from "./peer.ts";
import { Session, type SessionContext } from "./session.ts";

export interface AuthenticationOptions {
  tokens: Pick<Tokens, "prepare" | "verify">;
  /** Re-checks an identity against current accounts and revocations. @throws {InvalidTokenError} */
  review: (identity: TokenIdentity) => TokenIdentity;
  /** Counts each user's connections on all nodes. */
  register: Pick<ConnectionRegister, "enter">;
  admission: Pick<Admission, "authenticated">;
  outage: Pick<OutageNotice, "isOngoing" | "isNewTo">;
  audit: Pick<Audit, "refuse">;
  session: SessionContext;
  limits: { maxConnectionsPerUser: number; maxUserConnectsPerMinute: number; pingIntervalMs: number };
  logger: Logger;
}

/** The most messages that a client may send before the reply to its first frame. */
const MAX_EARLY_MESSAGES = 32;

// Clients of the predecessor know these two texts.
const AUTH_TIMEOUT = "Authentication timeout";
const INVALID_TOKEN = "Invalid or expired authentication token";

/** Makes a session from a peer's first frame: verifies the token and applies the limits of the user. */
export class Authentication {
  readonly #options: AuthenticationOptions;
  /** How many connections each user authenticated in the current minute. */
  readonly #userConnects = new FixedWindowCounter();

  constructor(options: AuthenticationOptions) {
    this.#options = options;
  }

  receive(peer: Peer, bytes: MessageBytes, isBinary: boolean): void {
    const { connection, stage } = peer;
    if (stage.kind === "verifying" || stage.kind === "admitting") {
      if (stage.early.length < MAX_EARLY_MESSAGES) stage.early.push([bytes, isBinary]);
      else this.#reject(connection, "Too many messages before the answer to the first", CloseCode.protocolError);
      return;
    }
    const frame = readFirstFrame(bytes, isBinary);
    if (frame.ok) this.#verify(peer, frame.token, frame.id);
    else this.#reject(connection, frame.error, frame.code);
  }

  timeOut(connection: Connection): void {
    this.#reject(connection, AUTH_TIMEOUT, CloseCode.authTimeout);
  }

  /** Re-checks the identity; undefined when the token is no longer valid. */
  review(identity: TokenIdentity): TokenIdentity | undefined {
    return validOrUndefined(() => this.#options.review(identity));
  }

  #verify(peer: Peer, token: string, id: RequestId): void {
    const { tokens } = this.#options;
    const early: EarlyMessage[] = [];
    const onFailure = (error: unknown) => this.#fail(peer.connection, error);
    const verify = () => {
      const identity = validOrUndefined(() => tokens.verify(token));
      if (identity === undefined) {
        this.#reject(peer.connection, INVALID_TOKEN, CloseCode.authInvalid);
        return;
      }
      peer.stage = { kind: "admitting", early };
      this.#admit(peer, identity, id, early).catch(onFailure);
    };
    const prepared = tokens.prepare(token);
    if (prepared === undefined) verify();
    else {
      peer.stage = { kind: "verifying", early };
      prepared.then(verify).catch(onFailure);
    }
  }

  async #admit(peer: Peer, identity: TokenIdentity, id: RequestId, early: readonly EarlyMessage[]): Promise<void> {
    const { register, limits, admission, outage, session: context, logger } = this.#options;
    const { maxConnectionsPerUser, maxUserConnectsPerMinute, pingIntervalMs } = limits;
    const { connection } = peer;
    const { userId } = identity;
    if (this.#userConnects.add(userId) > maxUserConnectsPerMinute) {
      const error = `More than ${counted(maxUserConnectsPerMinute, "connection")} of one user in a minute: try again later`;
      this.#reject(connection, error, CloseCode.connectRate);
      return;
    }
    const limit = Number.isFinite(maxConnectionsPerUser) ? maxConnectionsPerUser : 0;
    const leave = await register.enter(userId, connection.id, limit);
    if (leave === undefined) {
      const error = `More than ${counted(maxConnectionsPerUser, "connection")} of one user: close another first`;
      this.#reject(connection, error, CloseCode.connectionLimit);
      return;
    }
    // Meanwhile, the client may have disconnected, and the token may have been revoked.
    const current = connection.open ? this.review(identity) : undefined;
    if (current === undefined) {
      leave();
      if (connection.open) this.#reject(connection, INVALID_TOKEN, CloseCode.authInvalid);
      return;
    }
    connection.user = userId;
    admission.authenticated(connection.address);
    // The first ping is at a random time, so that clients that connected together are not pinged together.
    connection.pingAt = performance.now() + Math.random() * pingIntervalMs;
    const session = new Session(connection, current, context);
    peer.stage = { kind: "authenticated", session, leave };
    session.welcome(id);
    if (outage.isOngoing && outage.isNewTo(connection)) connection.send(STORE_OUTAGE);
    logger.debug({ ...connection.names, address: connection.address }, "client connected");
    for (const [bytes, isBinary] of early) if (connection.open) session.receive(bytes, isBinary);
  }

  #fail(connection: Connection, error: unknown): void {
    // `identity-provider.ts` logs its own outage, once for all clients.
    const level = error instanceof ProviderUnavailableError ? "debug" : "error";
    this.#options.logger[level]({ err: error, ...connection.names }, "authentication failed");
    connection.close(CloseCode.internal, "the server failed");
  }

  /** Logged at level `debug`, because anybody can cause a rejection. The audit log limits its entries. */
  #reject(connection: Connection, error: string, code: CloseCode): void {
    const { audit, logger } = this.#options;
    const { id, address } = connection;
    audit.refuse({ action: "connect", who: "unknown", address, target: "socket", outcome: `${code} ${error}` });
    logger.debug({ connection: id, address, code, reason: error }, "client not authenticated");
    connection.send({ type: "auth_error", error, code });
    connection.close(code, error);
  }
}

function validOrUndefined(identify: () => TokenIdentity): TokenIdentity | undefined {
  try {
    return identify();
  } catch (error) {
    if (error instanceof InvalidTokenError) return undefined;
    throw error;
  }
}
