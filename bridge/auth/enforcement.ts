import type { Logger } from "pino";
import type { AccessRefusal, AuditedAct, Bearer } from "../../platform/identity.ts";
import type { RefusedPublication } from "../../platform/publications.ts";
import type { Authority } from "./authority.ts";
import { InvalidTokenError } from "./tokens.ts";

/**
 * The shortest interval between two reviews of all connections. One review handles all changes since the previous one.
 */
const MIN_INTERVAL_MS = 100;

/** The MQTT clients of this node. */
export interface MqttClients {
  /** Calls back for each refused publication. @returns unsubscribes */
  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void;
  onRefused(listener: (refusal: AccessRefusal) => void): () => void;
  onCarriedOut(listener: (act: AuditedAct) => void): () => void;
  /** @returns the number of closed connections */
  disconnect(matches: (client: Bearer & { permissions: readonly string[] }) => boolean): number;
  /** Deletes the stored sessions of users whose tokens are revoked. Never rejects. */
  discardEnded(): Promise<unknown>;
}

interface EnforcementOptions {
  authority: Pick<Authority, "review" | "onChange">;
  sockets: { review(): void };
  /** Undefined without a broker. */
  mqtt: MqttClients | undefined;
  logger: Logger;
}

const USER = "user:";

/**
 * Whether the token, its session or all earlier tokens of the user were revoked. A client with an expired token is not
 * revoked: it continues its session with the next token.
 */
export function isRevoked(authority: Pick<Authority, "review">, bearer: Bearer): boolean {
  return reviewed(authority, bearer, []) === "revoked";
}

function reviewed(
  authority: Pick<Authority, "review">,
  { identity, tokenId, sessionId, issuedAt, expiresAt }: Bearer,
  permissions: readonly string[],
): "unchanged" | "changed" | "revoked" {
  if (!identity.startsWith(USER) || issuedAt === undefined) return "unchanged";
  const token = { userId: identity.slice(USER.length), permissions, tokenId, sessionId, issuedAt, expiresAt };
  try {
    return authority.review(token) === token ? "unchanged" : "changed";
  } catch (error) {
    if (!(error instanceof InvalidTokenError)) throw error;
    return "revoked";
  }
}

/**
 * Applies changes of accounts and revocations to the connections of this node. A socket with a revoked token is closed;
 * a socket with changed permissions continues with the new ones. An MQTT client is disconnected in both cases and gets
 * its new permissions when it reconnects. Stored MQTT sessions of revoked users are deleted.
 */
export function startEnforcement({ authority, sockets, mqtt, logger }: EnforcementOptions): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  let enforcedAt = Number.NEGATIVE_INFINITY;

  const enforce = () => {
    timer = undefined;
    enforcedAt = performance.now();
    try {
      sockets.review();
      const ended = mqtt?.disconnect((client) => !isUnchanged(client)) ?? 0;
      if (ended > 0) logger.info({ ended }, "mqtt clients disconnected: token revoked or permissions changed");
      void mqtt?.discardEnded();
    } catch (error) {
      logger.error({ err: error }, "connections could not be reviewed");
    }
  };

  const isUnchanged = (client: Bearer & { permissions: readonly string[] }) =>
    reviewed(authority, client, client.permissions) === "unchanged";

  const unsubscribe = authority.onChange(() => {
    timer ??= setTimeout(enforce, Math.max(0, enforcedAt + MIN_INTERVAL_MS - performance.now()));
  });
  return {
    stop() {
      unsubscribe();
      clearTimeout(timer);
    },
  };
}
