import {
  AuthorizationResponseError,
  ClientError,
  ResponseBodyError,
  WWWAuthenticateChallengeError,
} from "openid-client";
import type { SignInReason } from "../../contract/sign-in.ts";
import { SignInError } from "./sign-in.ts";

/** What an operator can do, for the log. Undefined: nothing is wrong here. */
export function adviceOf(reason: SignInReason): string | undefined {
  return ADVICE[reason];
}

const ADVICE: Partial<Record<SignInReason, string>> = {
  provider_unavailable:
    "OIDC_ISSUER must be the issuer's URL exactly, and this machine must reach /.well-known/openid-configuration below it",
  wrong_client: "the identity provider refuses OIDC_CLIENT_ID or OIDC_CLIENT_SECRET",
  no_permissions:
    "no entry of OIDC_GROUP_ROLES matches the user's groups in the claim OIDC_GROUPS_CLAIM, and the claim permissions is missing",
  clock: "the clocks of the identity provider and of this server differ by more than a minute: let NTP set both",
  invalid_answer: "err says what is wrong in the identity provider's answer",
};

/** Codes of an OAuth error response (RFC 6749, sections 4.1.2.1 and 5.2; OpenID Connect Core, section 3.1.2.6). */
const OAUTH_ERRORS: ReadonlyMap<string, SignInReason> = new Map([
  ["access_denied", "denied"],
  ["login_required", "denied"],
  ["consent_required", "denied"],
  ["interaction_required", "denied"],
  ["account_selection_required", "denied"],
  ["server_error", "provider_unavailable"],
  ["temporarily_unavailable", "provider_unavailable"],
  ["invalid_client", "wrong_client"],
  ["unauthorized_client", "wrong_client"],
  // The code was used before, or is too old: the user pressed the browser's back button, for example.
  ["invalid_grant", "expired"],
]);

/** Codes of the package openid-client. */
const CLIENT_ERRORS: ReadonlyMap<string, SignInReason> = new Map([
  ["OAUTH_TIMEOUT", "provider_unavailable"],
  ["OAUTH_ABORT", "provider_unavailable"],
  ["OAUTH_RESPONSE_IS_NOT_CONFORM", "provider_unavailable"],
  ["OAUTH_RESPONSE_IS_NOT_JSON", "provider_unavailable"],
  ["OAUTH_PARSE_ERROR", "provider_unavailable"],
  ["OAUTH_JWT_TIMESTAMP_CHECK_FAILED", "clock"],
]);

/** The reason that an error of openid-client stands for. */
export function reasonOf(error: unknown): SignInReason {
  if (error instanceof SignInError) return error.reason;
  if (error instanceof AuthorizationResponseError || error instanceof ResponseBodyError)
    return OAUTH_ERRORS.get(error.error) ?? "invalid_answer";
  if (error instanceof WWWAuthenticateChallengeError) return error.status === 401 ? "wrong_client" : "invalid_answer";
  if (error instanceof ClientError) return CLIENT_ERRORS.get(error.code ?? "") ?? "invalid_answer";
  // `fetch` reports every failure of the network as a TypeError.
  return error instanceof TypeError ? "provider_unavailable" : "invalid_answer";
}
