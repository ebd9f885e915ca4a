import type { Authority } from "./authority.ts";

/**
 * Whether `POST /auth/token` currently accepts requests from this machine without a key. Always false when a proxy is
 * configured: requests through a proxy come from other machines, and with a wrong proxy setting they would seem to come
 * from this one.
 */
export function firstTryIsOpen(
  { loopback, trustedProxies }: { loopback: boolean; trustedProxies: readonly string[] },
  { firstTry }: Pick<Authority, "firstTry">,
): boolean {
  return loopback && trustedProxies.length === 0 && firstTry;
}
