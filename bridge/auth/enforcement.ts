import type { Logger } from "pino";
import type { AccessRefusal, AuditedAct, Bearer } from "../../platform/identity.ts";
import type { RefusedPublication } from "../../platform/publications.ts";
import type { Authority } from "./authority.ts";
import { InvalidTokenError } from "./tokens.ts";

/** Changes that come one after the other are looked at together, so often at most. */
const MIN_INTERVAL_MS = 100;

/** The MQTT clients of this node. */
export interface MqttClients {
  /** @returns ends it */
  onPublicationRefused(listener: (refused: RefusedPublication) => void): () => void;
  /** @returns ends it */
  onRefused(listener: (refusal: AccessRefusal) => void): () => void;
  /** @returns ends it */
  onCarriedOut(listener: (act: AuditedAct) => void): () => void;
  /** Ends the connections that match. @returns how many */
  disconnect(matches: (client: Bearer & { permissions: readonly string[] }) => boolean): number;
  /** Discards the stored sessions whose users' tokens are revoked. Never rejects. */
  discardEnded(): Promise<unknown>;
}

export interface EnforcementOptions {
  authority: Pick<Authority, "review" | "onChange">;
  sockets: { review(): void };
  /** Undefined where there is no broker. */
  mqtt: MqttClients | undefined;
  logger: Logger;
}

const USER = "user:";

/**
 * Whether what the bearer came with has been taken back: his token, his login, or all that he had before a moment. A token
 * that has expired is not revoked: with the next one he goes on where he was.
 */
export function isRevoked(authority: Pick<Authority, "review">, bearer: Bearer): boolean {
  return reviewed(authority, bearer, []) === undefined;
}

/** @returns his permissions of now; undefined when what he came with is revoked */
function reviewed(
  authority: Pick<Authority, "review">,
  { identity, tokenId, sessionId, issuedAt, expiresAt = 0 }: Bearer,
  permissions: readonly string[],
): readonly string[] | undefined {
  if (!identity.startsWith(USER) || issuedAt === undefined) return permissions;
  const shown = { userId: identity.slice(USER.length), permissions, tokenId, sessionId, issuedAt, expiresAt };
  try {
    return authority.review(shown).permissions;
  } catch (error) {
    if (!(error instanceof InvalidTokenError)) throw error;
    return undefined;
  }
}

/**
 * Lets what accounts and revocations say act on what is connected, at this node as at every other: sockets are closed,
 * or given other permissions; MQTT clients are disconnected in both cases, and come back with what they may do now. What a
 * revoked user's MQTT clients have left in the store goes, whether they are there or not.
 */
export function startEnforcement({ authority, sockets, mqtt, logger }: EnforcementOptions): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  let enforcedAt = Number.NEGATIVE_INFINITY;

  const enforce = () => {
    timer = undefined;
    enforcedAt = performance.now();
    try {
      sockets.review();
      const ended = mqtt?.disconnect((client) => !holds(client)) ?? 0;
      if (ended > 0) logger.info({ ended }, "mqtt clients disconnected: their tokens are not what they were");
      void mqtt?.discardEnded();
    } catch (error) {
      logger.error({ err: error }, "connections not reviewed");
    }
  };

  const holds = (client: Bearer & { permissions: readonly string[] }) =>
    reviewed(authority, client, client.permissions) === client.permissions;

  const end = authority.onChange(() => {
    timer ??= setTimeout(enforce, Math.max(0, enforcedAt + MIN_INTERVAL_MS - performance.now()));
  });
  return {
    stop() {
      end();
      clearTimeout(timer);
    },
  };
}
