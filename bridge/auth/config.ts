import { join } from "node:path";
import { z } from "zod";
import { isLoopbackHost } from "../../platform/client-addresses.ts";
import type { EnvironmentSource, ValuesOf } from "../../platform/config.ts";
import { ConfigurationError, limitVariable, positiveVariable, setting, times } from "../../platform/config.ts";
import { groupRolesOf, oidcConfig, type oidcSettings } from "./oidc-config.ts";

/** HS256 needs a key of at least 256 bits (RFC 7518, section 3.2). */
export const MIN_SECRET_LENGTH = 32;
/** Long enough that nobody guesses the key, short enough to type. */
const MIN_OPERATOR_KEY_LENGTH = 16;

const mustBeSet = (length: number) =>
  `must be set when HOST can be reached by others: at least ${length} characters, such as openssl rand -hex 32 prints`;

export const authSettings = {
  JWT_SECRET: setting(
    `Signs and verifies tokens (HS256): at least ${MIN_SECRET_LENGTH} characters. With several lines, the first line signs and ` +
      "all lines verify, so a secret can be replaced while its tokens are still valid. Also read from `SKYLAPSE_JWT_SECRET` and " +
      "`REALTIME_JWT_SECRET`.",
    z
      .string(mustBeSet(MIN_SECRET_LENGTH))
      .transform((text) => text.split(/\r?\n/).filter((line) => line !== ""))
      .refine((secrets) => secrets.length > 0 && secrets.every(({ length }) => length >= MIN_SECRET_LENGTH), {
        error: `must have at least ${MIN_SECRET_LENGTH} characters in each line`,
      }),
    { mustAgree: true, isSecret: true, defaultText: "on loopback generated at the first start" },
  ),
  OPERATOR_KEY: setting(
    "Allows everything, and mints tokens: sent as `Authorization: Bearer …`. At least " +
      `${MIN_OPERATOR_KEY_LENGTH} visible ASCII characters without blanks.`,
    z
      .string()
      .min(MIN_OPERATOR_KEY_LENGTH, `must have at least ${MIN_OPERATOR_KEY_LENGTH} characters`)
      .regex(/^[!-~]*$/, "must be visible ASCII without blanks: it is sent in a header")
      .optional(),
    { mustAgree: true, isSecret: true, defaultText: "on loopback generated at the first start" },
  ),
  TOKEN_TTL_SECONDS: setting(
    "Longest life of a token that the operator key mints, and its life when the request names none.",
    positiveVariable.default(86_400),
    { mustAgree: true },
  ),
  ACCESS_TOKEN_TTL_SECONDS: setting("Life of a token that a login returns.", positiveVariable.default(900), {
    mustAgree: true,
  }),
  REFRESH_TOKEN_TTL_SECONDS: setting(
    "Time for which a login can be refreshed without its password.",
    positiveVariable.default(604_800),
    { mustAgree: true },
  ),
  MAX_SESSIONS_PER_USER: setting(
    "Sessions of one user. A login beyond it ends the session that was not used for the longest time.",
    positiveVariable.default(50),
    { mustAgree: true },
  ),
  JWKS_URL: setting(
    "Keys of an identity provider whose tokens are accepted too: an `https:` URL, or `http:` on loopback.",
    z.string().superRefine(checkKeysUrl).optional(),
    { mustAgree: true },
  ),
  JWT_ISSUER: setting(
    "The `iss` that the identity provider's tokens must name. Must be set with `JWKS_URL`.",
    z.string().optional(),
    { mustAgree: true },
  ),
  JWT_AUDIENCE: setting(
    "The `aud` that the identity provider's tokens must name. Must be set with `JWKS_URL`.",
    z.string().optional(),
    { mustAgree: true },
  ),
  MAX_LOGIN_FAILURES: setting(
    "Failed logins of one user within the window. After these the user must wait until the window ends, except at an " +
      "address where the user has logged in before.",
    limitVariable.default(10),
    { mustAgree: true },
  ),
  MAX_LOGIN_FAILURES_PER_ADDRESS: setting(
    "Failed logins from one address within the window. After these, users who have not logged in from there must wait.",
    limitVariable,
    { ...times(10, "MAX_LOGIN_FAILURES", "ten times"), mustAgree: true },
  ),
  LOGIN_FAILURE_WINDOW_SECONDS: setting(
    "Time for which failed logins count, from the first failed login.",
    positiveVariable.default(900),
    { mustAgree: true },
  ),
  MQTT_ACCOUNT_LOGIN: setting(
    "Whether a person may connect over MQTT with user id and password (`on`), and not only with a token or a secret (`off`). " +
      "Failed logins count as those of `POST /auth/login` do.",
    z.enum(["on", "off"], { error: "must be on or off" }).default("off"),
    { mustAgree: true },
  ),
  AUDIT_LOG: setting(
    "The audit log, one line of JSON for each entry: who did what from where, and what was refused. The path of a file, or " +
      "`stdout`. Commands and broadcasts are in a file of their own beside it, such as `audit-traffic.log`.",
    z.string(),
    {
      defaultText: "`audit.log` in `DATA_PATH`",
      defaultFrom: { name: "DATA_PATH", value: (dataPath) => join(dataPath, "audit.log") },
    },
  ),
  MAX_AUDIT_LOG_BYTES: setting(
    "Size of each audit log. A larger one is renamed to `audit.log.1` and replaces the previous one of that name.",
    limitVariable.default(67_108_864),
  ),
};

/** Without an operator key, nobody could mint tokens. @throws {ConfigurationError} the key is missing */
export function requireOperatorKey({ OPERATOR_KEY, OPERATOR_KEY_FILE }: EnvironmentSource["env"]): void {
  if (!OPERATOR_KEY && !OPERATOR_KEY_FILE)
    throw new ConfigurationError([`OPERATOR_KEY: ${mustBeSet(MIN_OPERATOR_KEY_LENGTH)}`]);
}

/** @throws {ConfigurationError} */
export function authConfig(read: ValuesOf<typeof authSettings & typeof oidcSettings>) {
  return {
    /** The first secret signs tokens; all of them verify tokens. */
    jwtSecrets: read.JWT_SECRET,
    /** Tokens of this identity provider are accepted beside those of `jwtSecrets`. */
    jwks: identityProvider(read),
    /** The identity provider with which people sign in to the page. */
    oidc: oidcConfig(read),
    /** The `aud` that a token signed by `jwtSecrets` may name. Undefined: such a token must name no `aud`. */
    jwtAudience: read.JWT_AUDIENCE,
    operatorKey: read.OPERATOR_KEY,
    /** The path of a file, or `stdout`. */
    auditLog: read.AUDIT_LOG,
    maxAuditLogBytes: read.MAX_AUDIT_LOG_BYTES,
    accounts: {
      accessTokenTtlSeconds: read.ACCESS_TOKEN_TTL_SECONDS,
      refreshTokenTtlSeconds: read.REFRESH_TOKEN_TTL_SECONDS,
      tokenTtlSeconds: read.TOKEN_TTL_SECONDS,
      maxSessionsPerUser: read.MAX_SESSIONS_PER_USER,
    },
    /** Whether accounts may connect over MQTT with their passwords. */
    mqttAccountLogin: read.MQTT_ACCOUNT_LOGIN === "on",
    logins: {
      maxFailures: read.MAX_LOGIN_FAILURES,
      maxAddressFailures: read.MAX_LOGIN_FAILURES_PER_ADDRESS,
      windowMs: read.LOGIN_FAILURE_WINDOW_SECONDS * 1000,
    },
  };
}

function identityProvider(read: ValuesOf<typeof authSettings & typeof oidcSettings>) {
  const { JWKS_URL, JWT_ISSUER, JWT_AUDIENCE } = read;
  if (JWKS_URL === undefined) return undefined;
  if (JWT_ISSUER !== undefined && JWT_AUDIENCE !== undefined) {
    checkOneIssuer(JWT_ISSUER, read.OIDC_ISSUER);
    return { jwksUrl: JWKS_URL, issuer: JWT_ISSUER, audience: JWT_AUDIENCE, groups: groupRolesOf(read) };
  }
  const missing = Object.entries({ JWT_ISSUER, JWT_AUDIENCE }).filter(([, value]) => value === undefined);
  throw new ConfigurationError(
    missing.map(([name]) => `${name}: must be set with JWKS_URL, to the value that the provider's tokens name`),
  );
}

/**
 * The user ids of both settings are `idp:` and the `sub`, which is unique at one issuer only. With two issuers, a user of
 * one could get the connections and MQTT sessions of a user of the other. @throws {ConfigurationError}
 */
function checkOneIssuer(jwtIssuer: string, oidcIssuer: string | undefined): void {
  const plain = (issuer: string) => issuer.replace(/\/$/, "");
  if (oidcIssuer !== undefined && plain(jwtIssuer) !== plain(oidcIssuer))
    throw new ConfigurationError([
      "JWT_ISSUER: must be the same issuer as OIDC_ISSUER, because two providers may give two people the same user id",
    ]);
}

/** An attacker who changes the keys in transit can sign tokens for any user, so plain HTTP is refused. */
function checkKeysUrl(url: string, context: z.RefinementCtx): void {
  const { protocol, hostname } = URL.canParse(url) ? new URL(url) : { protocol: "", hostname: "" };
  if (protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname))) return;
  context.addIssue({ code: "custom", message: "must be an https: URL, such as https://id.example.org/jwks.json" });
}
