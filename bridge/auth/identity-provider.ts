import { KeyObject } from "node:crypto";
import { createRemoteJWKSet, customFetch, decodeProtectedHeader, errors } from "jose";
import type { Logger } from "pino";
import type { GroupRoles } from "./oidc-config.ts";
import { type IdentityProvider, PROVIDER_ALGORITHMS, ProviderUnavailableError } from "./provider.ts";
import { fetchLimited } from "./provider-fetch.ts";
import { permissionsOfToken } from "./provider-permissions.ts";

/** Bits (RFC 7518, sections 3.3 and 3.5). */
const MIN_RSA_BITS = 2_048;
const KEYS_TIMEOUT_MS = 5_000;
/** Keys are fetched again after this time. Until then, a key that the provider has withdrawn is still accepted. */
const KEYS_MAX_AGE_MS = 600_000;
/** The shortest interval between two requests for unknown keys, however many tokens name such keys. */
const KEYS_COOL_DOWN_MS = 30_000;
/** Anybody can send a token that causes a log line about unavailable keys. */
const LOG_INTERVAL_MS = 10_000;

interface IdentityProviderOptions extends Pick<IdentityProvider, "issuer" | "audience"> {
  /** URL of the JSON Web Key Set (RFC 7517). */
  jwksUrl: string;
  /** Default: only the claim `permissions` gives permissions. */
  groups?: GroupRoles;
  logger: Logger;
  /** Default: {@link KEYS_COOL_DOWN_MS}. */
  coolDownMs?: number;
}

interface KeyName {
  alg: string;
  kid: string | undefined;
}

export function createIdentityProvider(options: IdentityProviderOptions): IdentityProvider {
  const { jwksUrl, issuer, audience, groups, logger, coolDownMs = KEYS_COOL_DOWN_MS } = options;
  const fetchKey = createRemoteJWKSet(new URL(jwksUrl), {
    timeoutDuration: KEYS_TIMEOUT_MS,
    cacheMaxAge: KEYS_MAX_AGE_MS,
    cooldownDuration: coolDownMs,
    [customFetch]: fetchLimited,
  });
  /** By algorithm and key id. Only keys that the provider has, so tokens with invented key ids do not fill the map. */
  const keys = new Map<string, KeyObject>();
  let logAt = 0;

  async function updateKey(keyName: KeyName): Promise<void> {
    const key = mapKey(keyName);
    try {
      const { alg, kid } = keyName;
      const found = KeyObject.from(await fetchKey({ alg, ...(kid === undefined ? {} : { kid }) }));
      if ((found.asymmetricKeyDetails?.modulusLength ?? MIN_RSA_BITS) >= MIN_RSA_BITS) keys.set(key, found);
      else keys.delete(key);
    } catch (error) {
      keys.delete(key);
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) return;
      if (performance.now() >= logAt) {
        logAt = performance.now() + LOG_INTERVAL_MS;
        logger.warn({ err: error, jwksUrl }, "identity provider keys unavailable");
      }
      throw new ProviderUnavailableError("the identity provider does not answer", { cause: error });
    }
  }

  return {
    issuer,
    audience,
    permissionsOf: (claims) => (groups === undefined ? claims.permissions : permissionsOfToken(claims, groups)),
    prepare(token) {
      const keyName = keyNameOf(token);
      return keyName === undefined ? undefined : updateKey(keyName);
    },
    keyOf(token) {
      const keyName = keyNameOf(token);
      return keyName === undefined ? undefined : keys.get(mapKey(keyName));
    },
  };
}

/** @returns undefined for a token that a provider cannot have signed */
function keyNameOf(token: string): KeyName | undefined {
  try {
    const { alg, kid } = decodeProtectedHeader(token);
    const isAllowed = PROVIDER_ALGORITHMS.some((allowed) => allowed === alg);
    return alg === undefined || !isAllowed ? undefined : { alg, kid };
  } catch {
    return undefined;
  }
}

const mapKey = ({ alg, kid }: KeyName) => JSON.stringify([alg, kid ?? null]);
