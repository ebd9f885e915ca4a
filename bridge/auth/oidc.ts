import * as oidc from "openid-client";
import type { Logger } from "pino";
import { LimitedLog } from "../../platform/limited-log.ts";
import type { Account, Accounts } from "./accounts.ts";
import type { OidcConfig } from "./oidc-config.ts";
import { adviceOf, reasonOf } from "./oidc-errors.ts";
import { fetchLimited } from "./provider-fetch.ts";
import { powersOfClaims } from "./provider-permissions.ts";
import { type Flow, type SignIn, SignInError } from "./sign-in.ts";
import { CLOCK_SKEW_SECONDS, providedUserId } from "./tokens.ts";

const REQUEST_TIMEOUT_SECONDS = 10;
/** The addresses of a provider change rarely. */
const DISCOVERY_MAX_AGE_MS = 3_600_000;
/** The shortest interval between two requests to a provider that does not answer. */
const DISCOVERY_COOL_DOWN_MS = 3_000;
const MAX_NAME_CHARS = 100;

interface OidcSignInOptions {
  config: OidcConfig;
  accounts: Pick<Accounts, "keepProvided">;
  logger: Logger;
}

/**
 * Signs people in with an identity provider: OpenID Connect, authorization code flow with PKCE (RFC 7636). The ID token
 * comes from the provider over TLS, so its signature is not checked (OpenID Connect Core, section 3.1.3.7).
 */
export class OidcSignIn implements SignIn {
  readonly #options: OidcSignInOptions;
  readonly #log = new LimitedLog();
  #discovered: { at: number; result: Promise<oidc.Configuration>; failed: boolean } | undefined;

  constructor(options: OidcSignInOptions) {
    this.#options = options;
  }

  get config(): OidcConfig {
    return this.#options.config;
  }

  async begin(): Promise<{ url: URL; flow: Flow }> {
    const { redirectUrl, scopes } = this.#options.config;
    const flow = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier() };
    return await this.#orSignInError(async () => {
      const url = oidc.buildAuthorizationUrl(await this.#configuration(), {
        redirect_uri: redirectUrl.href,
        scope: scopes,
        ...{ state: flow.state, nonce: flow.nonce },
        code_challenge: await oidc.calculatePKCECodeChallenge(flow.verifier),
        code_challenge_method: "S256",
      });
      return { url, flow };
    });
  }

  async finish(query: URLSearchParams, { state, nonce, verifier }: Flow): Promise<Account> {
    const { config, accounts } = this.#options;
    const { claims, subject } = await this.#orSignInError(async () => {
      const configuration = await this.#configuration();
      const url = new URL(config.redirectUrl);
      url.search = query.toString();
      const checks = { expectedState: state, expectedNonce: nonce, pkceCodeVerifier: verifier, idTokenExpected: true };
      const tokens = await oidc.authorizationCodeGrant(configuration, url, checks);
      const idToken = tokens.claims();
      if (idToken === undefined) throw new SignInError("invalid_answer");
      return {
        subject: idToken.sub,
        claims: { ...(await this.#userInfo(configuration, tokens.access_token, idToken)), ...idToken },
      };
    });
    const userId = providedUserId(subject);
    if (userId === undefined) throw this.#refused("invalid_answer", { subject });
    const powers = powersOfClaims(claims, config.groups);
    if (powers === undefined) throw this.#refused("no_permissions", { userId });
    const account = await accounts.keepProvided({ userId, name: nameOf(claims), powers });
    if (!account.enabled) throw this.#refused("disabled", { userId });
    return account;
  }

  stop(): void {
    this.#log.stop();
  }

  /** Many providers put groups only there. */
  async #userInfo(configuration: oidc.Configuration, accessToken: string, idToken: oidc.IDToken): Promise<object> {
    const { groups } = this.#options.config;
    const { userinfo_endpoint: endpoint } = configuration.serverMetadata();
    if (endpoint === undefined || Object.hasOwn(idToken, groups.claim[0] ?? "")) return {};
    return await oidc.fetchUserInfo(configuration, accessToken, idToken.sub);
  }

  async #configuration(): Promise<oidc.Configuration> {
    const { issuer, clientId, clientSecret } = this.#options.config;
    const now = performance.now();
    const { at = 0, failed = false } = this.#discovered ?? {};
    if (this.#discovered === undefined || now - at > (failed ? DISCOVERY_COOL_DOWN_MS : DISCOVERY_MAX_AGE_MS)) {
      const discovered = { at: now, failed: false, result: discover(issuer, clientId, clientSecret) };
      this.#discovered = discovered;
      discovered.result.catch(() => {
        discovered.failed = true;
      });
    }
    return await this.#discovered.result;
  }

  async #orSignInError<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw this.#refused(reasonOf(error), { err: error });
    }
  }

  #refused(reason: SignInError["reason"], fields: { err?: unknown; userId?: string; subject?: string }): SignInError {
    const { issuer } = this.#options.config;
    // Anybody can begin a sign-in, and end it with an invented answer.
    this.#log.note(reason, (times) =>
      this.#options.logger.warn(
        { reason, times, issuer: issuer.href, advice: adviceOf(reason), ...fields },
        "sign-in failed",
      ),
    );
    return new SignInError(reason, { cause: fields.err });
  }
}

async function discover(issuer: URL, clientId: string, clientSecret: string | undefined): Promise<oidc.Configuration> {
  // Basic is the method that every provider must support (RFC 6749, section 2.3.1).
  const authentication = clientSecret === undefined ? oidc.None() : oidc.ClientSecretBasic(clientSecret);
  const metadata = { [oidc.clockTolerance]: CLOCK_SKEW_SECONDS };
  // The settings allow http: only on loopback.
  const execute = issuer.protocol === "http:" ? [oidc.allowInsecureRequests] : [];
  return await oidc.discovery(issuer, clientId, metadata, authentication, {
    timeout: REQUEST_TIMEOUT_SECONDS,
    execute,
    [oidc.customFetch]: (url, options) => fetchLimited(url, options as RequestInit),
  });
}

function nameOf(claims: Readonly<Record<string, unknown>>): string | undefined {
  const name = [claims.name, claims.preferred_username, claims.email].find((text) => typeof text === "string");
  const shown = typeof name === "string" ? name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "").trim() : "";
  return shown === "" ? undefined : [...shown].slice(0, MAX_NAME_CHARS).join("");
}
