import type { KeyObject } from "node:crypto";

/**
 * All sign with a private key. Only our own tokens use HS256, so a public key never serves as an HS256 secret (RFC
 * 8725, section 2.1).
 */
export const PROVIDER_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"] as const;

/** The provider's keys could not be fetched, so it is unknown whether the token is valid. */
export class ProviderUnavailableError extends Error {
  override name = "ProviderUnavailableError";
}

export interface IdentityProvider {
  readonly issuer: string;
  readonly audience: string;
  /** The permissions that the claims of a token give. The caller checks them. */
  permissionsOf(claims: Readonly<Record<string, unknown>>): unknown;
  /**
   * Fetches the key that signed the token, unless it is cached.
   * @returns undefined for a token that cannot be from the provider
   * @throws {ProviderUnavailableError}
   */
  prepare(token: string): Promise<void> | undefined;
  /** Undefined when {@link prepare} did not find the key that signed the token. */
  keyOf(token: string): KeyObject | undefined;
}
