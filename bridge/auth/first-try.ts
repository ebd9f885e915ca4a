import type { Authority } from "./authority.ts";

/**
 * Whether `POST /auth/token` currently accepts requests from this machine without a key. Always false when a proxy is
 * configured: its requests come from other machines, and a wrong proxy setting would hide that.
 */
export function firstTryIsOpen(
  { loopback, trustedProxies }: { loopback: boolean; trustedProxies: readonly string[] },
  { firstTry }: Pick<Authority, "firstTry">,
): boolean {
  return loopback && trustedProxies.length === 0 && firstTry;
}
