import { KeyObject } from "node:crypto";
import { createRemoteJWKSet, customFetch, decodeProtectedHeader, errors } from "jose";
import type { Logger } from "pino";

/**
 * What a provider's tokens may be signed with. Each needs its private key: a token with HS256 is ours, or nobody's, so
 * a public key can never be taken for a secret (RFC 8725, section 2.1).
 */
export const PROVIDER_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"] as const;
/** Bits of an RSA key at least (RFC 7518, sections 3.3 and 3.5). */
const MIN_RSA_BITS = 2_048;
/** How long the provider has to answer. */
export const KEYS_TIMEOUT_MS = 5_000;
/** Keys are asked for anew after so long, so that one which was withdrawn is good no longer. */
export const KEYS_MAX_AGE_MS = 600_000;
/** A key takes some 2 KiB, with its certificate. */
export const MAX_KEYS_BYTES = 1024 * 1024;
/** An unknown key is asked for at most so often, however many tokens name one. */
export const KEYS_COOL_DOWN_MS = 30_000;

/** Anybody can send a token that names an unknown key: that the keys cannot be had is said so often at most. */
const LOG_INTERVAL_MS = 10_000;

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
    [customFetch]: async (address, init) => bounded(await fetch(address, init)),
  });
  /** By algorithm and id. As many as the provider has: one that it does not know is not kept. */
  const keys = new Map<string, KeyObject>();
  let logAt = 0;

  async function look(named: Named): Promise<void> {
    const name = nameOf(named);
    try {
      const { alg, kid } = named;
      const key = KeyObject.from(await find({ alg, ...(kid === undefined ? {} : { kid }) }));
      if ((key.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS) >= MIN_RSA_BITS) keys.set(name, key);
      else keys.delete(name);
    } catch (error) {
      keys.delete(name);
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) return;
      if (performance.now() >= logAt) {
        logAt = performance.now() + LOG_INTERVAL_MS;
        logger.warn({ err: error, jwksUrl }, "the keys of the identity provider cannot be had");
      }
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

/** The same answer, whose body is an error where it becomes too long. */
function bounded(answer: Response): Response {
  let size = 0;
  const body = answer.body?.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        size += chunk.length;
        if (size > MAX_KEYS_BYTES) controller.error(new Error(`more than ${MAX_KEYS_BYTES} bytes of keys`));
        else controller.enqueue(chunk);
      },
    }),
  );
  return new Response(body, answer);
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
