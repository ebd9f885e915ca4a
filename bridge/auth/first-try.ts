import type { Authority } from "./authority.ts";

/**
 * Whether `POST /auth/token` needs no key from this machine now. Always false behind a configured proxy: requests
 * through it come from elsewhere, and a wrong proxy setting would hide that.
 */
export function firstTryIsOpen(
  { loopback, trustedProxies }: { loopback: boolean; trustedProxies: readonly string[] },
  { firstTry }: Pick<Authority, "firstTry">,
): boolean {
  return loopback && trustedProxies.length === 0 && firstTry;
}
