/**
 * Why a sign-in with the identity provider failed.
 *
 * - `provider_unavailable`: the provider does not answer, or not as OpenID Connect says
 * - `wrong_client`: the provider refuses the server's client id or client secret
 * - `denied`: the user, or a rule at the provider, refused
 * - `no_permissions`: the provider knows the user, but none of the user's groups has a role here
 * - `disabled`: an admin has disabled the user here
 * - `expired`: it took too long, or the browser began the sign-in at another address, or keeps no cookies
 * - `clock`: the clocks of the provider and of the server differ
 * - `invalid_answer`: the answer of the provider is wrong
 * - `failed`: the server could not keep the sign-in; its log says why
 */
export type SignInReason =
  | "provider_unavailable"
  | "wrong_client"
  | "denied"
  | "no_permissions"
  | "disabled"
  | "expired"
  | "clock"
  | "invalid_answer"
  | "failed";

/**
 * The parameter in the fragment of the page's address after a sign-in with the identity provider: `done`, or a
 * {@link SignInReason}. A browser sends no fragment to a server or proxy.
 */
export const SIGN_IN_FRAGMENT = "sign-in";
