import { KeyObject } from "node:crypto";
import { createRemoteJWKSet, decodeProtectedHeader, errors } from "jose";
import type { Logger } from "pino";

/**
 * What a provider's tokens may be signed with. Each needs its private key: a token with HS256 is ours, or nobody's, so
 * a public key can never be taken for a secret (RFC 8725, section 2.1).
 */
export const PROVIDER_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"] as const;
/** How long the provider has to answer. */
export const KEYS_TIMEOUT_MS = 5_000;
/** Keys are asked for anew after so long, so that one which was withdrawn is good no longer. */
export const KEYS_MAX_AGE_MS = 600_000;
/** An unknown key is asked for at most so often, however many tokens name one. */
export const KEYS_COOL_DOWN_MS = 30_000;

/** The keys could not be had: the token may be good. */
export class ProviderUnavailableError extends Error {
  override name = "ProviderUnavailableError";
}

/** An identity provider whose tokens are taken beside our own. */
export interface IdentityProvider {
  readonly issuer: string;
  readonly audience: string;
  /**
   * Has the key of the token at hand when it resolves, if the provider has it.
   * @returns undefined for a token that cannot be the provider's
   * @throws {ProviderUnavailableError}
   */
  prepare(token: string): Promise<void> | undefined;
  /** The key the token names, as {@link prepare} has left it. */
  keyOf(token: string): KeyObject | undefined;
}

export interface IdentityProviderOptions {
  /** Where the JSON Web Key Set is (RFC 7517). */
  jwksUrl: string;
  issuer: string;
  audience: string;
  logger: Logger;
  /** Default: {@link KEYS_COOL_DOWN_MS}. */
  coolDownMs?: number;
}

interface Named {
  alg: string;
  kid: string | undefined;
}

export function createIdentityProvider(options: IdentityProviderOptions): IdentityProvider {
  const { jwksUrl, issuer, audience, logger, coolDownMs = KEYS_COOL_DOWN_MS } = options;
  const find = createRemoteJWKSet(new URL(jwksUrl), {
    timeoutDuration: KEYS_TIMEOUT_MS,
    cacheMaxAge: KEYS_MAX_AGE_MS,
    cooldownDuration: coolDownMs,
  });
  /** By algorithm and id. As many as the provider has: one that it does not know is not kept. */
  const keys = new Map<string, KeyObject>();

  async function look(named: Named): Promise<void> {
    const name = nameOf(named);
    try {
      const { alg, kid } = named;
      keys.set(name, KeyObject.from(await find({ alg, ...(kid === undefined ? {} : { kid }) })));
    } catch (error) {
      keys.delete(name);
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) return;
      logger.warn({ err: error, jwksUrl }, "the keys of the identity provider cannot be had");
      throw new ProviderUnavailableError("the identity provider does not answer", { cause: error });
    }
  }

  return {
    issuer,
    audience,
    prepare(token) {
      const named = headerOf(token);
      return named === undefined ? undefined : look(named);
    },
    keyOf(token) {
      const named = headerOf(token);
      return named === undefined ? undefined : keys.get(nameOf(named));
    },
  };
}

/** @returns undefined when a provider cannot have signed it */
function headerOf(token: string): Named | undefined {
  try {
    const { alg, kid } = decodeProtectedHeader(token);
    const isAllowed = PROVIDER_ALGORITHMS.some((allowed) => allowed === alg);
    return alg === undefined || !isAllowed ? undefined : { alg, kid };
  } catch {
    return undefined;
  }
}

const nameOf = ({ alg, kid }: Named) => JSON.stringify([alg, kid ?? null]);
