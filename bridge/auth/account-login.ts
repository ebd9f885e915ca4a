import { randomBytes } from "node:crypto";
import { networkOf } from "../../platform/addresses.ts";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Authority } from "./authority.ts";
import type { LoginGuard } from "./login-guard.ts";

/** The random half of a session id: see `SESSION_ID`. */
const SESSION_BYTES = 12;

/**
 * Checks user id and password, for a connection that has no token. The identity ends as a login does: when the account
 * is disabled, removed or gets another password. New permissions of the account apply to it.
 * @param address the client's address, for the count of failed logins
 * @returns undefined when the account is unknown or disabled, or the password is wrong
 * @throws {TooManyFailuresError} @throws {TooManyHashesError}
 */
export async function logInOnce(
  { userId, password, address }: { userId: string; password: string; address: string },
  { accounts, revocations }: Pick<Authority, "accounts" | "revocations">,
  guard: Pick<LoginGuard, "attempt">,
): Promise<TokenIdentity | undefined> {
  const attempt = { userId, address: networkOf(address) };
  const account = await guard.attempt(attempt, () => accounts.verify(userId, password));
  if (account === undefined) return undefined;
  const sessionId = `${account.generation}-${randomBytes(SESSION_BYTES).toString("hex")}`;
  const { permissions } = account;
  const issuedAt = revocations.issueTime(userId);
  return { userId, permissions, tokenId: undefined, sessionId, issuedAt, expiresAt: undefined };
}
