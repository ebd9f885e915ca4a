import { createSecretKey, type KeyObject, randomUUID } from "node:crypto";
import jsonwebtoken from "jsonwebtoken";
import { z } from "zod";
import type { TokenIdentity } from "../../platform/identity.ts";
import { MIN_SECRET_LENGTH } from "./config.ts";
import { type IdentityProvider, PROVIDER_ALGORITHMS } from "./provider.ts";

export interface Tokens {
  /** The clock that issues and judges tokens, milliseconds since 1970. Nodes that share a Redis share this clock. */
  now(): number;
  /**
   * Fetches what the verification needs: the identity provider's key, or an account that another node has just changed.
   * Await the result before {@link verify}.
   * @returns undefined when nothing is needed
   * @throws {ProviderUnavailableError}
   */
  prepare(token: string): Promise<void> | undefined;
  /** @throws {ExpiredTokenError} the token has expired and is otherwise valid @throws {InvalidTokenError} */
  verify(token: string): TokenIdentity;
  /**
   * @param grant.ttlSeconds lifetime, whole seconds
   * @param grant.tokenId the claim `jti`. Default: a random UUID
   * @param grant.issuedAt the time that revocations are compared with, milliseconds since 1970. Default: now
   */
  mint(grant: {
    userId: string;
    permissions: readonly string[];
    ttlSeconds: number;
    sessionId?: string;
    tokenId?: string;
    issuedAt?: number;
  }): { token: string; tokenId: string; expiresAt: number };
}

interface TokensOptions {
  /**
   * The first secret signs; all verify, so a secret can be replaced while its tokens are valid. At least 32 characters.
   */
  secrets: readonly string[];
  /** Tokens of this identity provider are accepted too. Default: none. */
  provider?: IdentityProvider | undefined;
  /** The only audience (`aud`) that a token signed with `secrets` may name. Default: it may name none. */
  audience?: string | undefined;
  /** Milliseconds since 1970. Default: the system clock. */
  now?: () => number;
}

/** The token is malformed, signed with another key or algorithm, or has invalid claims. */
export class InvalidTokenError extends Error {
  override name = "InvalidTokenError";
}

/** The token has expired and is otherwise valid. */
export class ExpiredTokenError extends InvalidTokenError {
  override name = "ExpiredTokenError";
}

/** Characters. A longer token is not verified. */
export const MAX_TOKEN_LENGTH = 8 * 1024;
const MAX_PERMISSIONS = 100;
/** The format of our own session ids. In a provider's token, the claim `sid` has another meaning and is ignored. */
export const SESSION_ID = /^[0-9a-f]{12}-[0-9a-f]{24}$/;
/** How far another issuer's clock may be ahead, seconds. */
export const CLOCK_SKEW_SECONDS = 60;

/** Only printable characters: user ids appear in logs and lists. */
export const userIdSchema = z
  .string()
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u, "must be 1 to 128 printable characters")
  .refine((text) => text.trim() === text, "must not begin or end with a blank");

/**
 * Only user ids of an identity provider's users begin with this. So a user of the provider and one of our users share
 * no connections and no client ids, and are revoked separately.
 */
const PROVIDER_PREFIX = "idp:";

/** Whether this is the id of a user of the identity provider. */
export const isProvided = (userId: string) => userId.startsWith(PROVIDER_PREFIX);

/** The id of the identity provider's user with this `sub`; undefined when the `sub` cannot be part of a user id. */
export const providedUserId = (sub: string) => userIdSchema.safeParse(PROVIDER_PREFIX + sub).data;

export const ownUserIdSchema = userIdSchema.refine(
  (text) => !isProvided(text),
  `must not begin with ${PROVIDER_PREFIX}, which is reserved for users of an identity provider`,
);

export const permissionsSchema = z
  .array(z.string().min(1, "must not be empty").max(128, "must have at most 128 characters"))
  .max(MAX_PERMISSIONS, `must have at most ${MAX_PERMISSIONS} entries`);

/** The permissions of one user as JSON. With more, tokens would exceed {@link MAX_TOKEN_LENGTH}. */
const MAX_GRANTED_BYTES = 4_096;

export const grantedPermissionsSchema = permissionsSchema.refine(
  (permissions) => Buffer.byteLength(JSON.stringify(permissions)) <= MAX_GRANTED_BYTES,
  `must have at most ${MAX_GRANTED_BYTES} bytes as JSON: more do not fit into a token`,
);

const claimsSchema = z
  .object({
    sub: userIdSchema.optional(),
    user_id: userIdSchema.optional(),
    permissions: permissionsSchema,
    iat: z.number().nonnegative(),
    exp: z.number().positive(),
    jti: z.string().min(1).max(128).optional(),
    sid: z.unknown().optional(),
    nbf: z.number().optional(),
    /**
     * A time, in a claim that only this server uses. Revocations of tokens that were issued before this time do not
     * cover this token.
     */
    rev: z.unknown().optional(),
  })
  .superRefine(({ sub, user_id, iat, exp }, context) => {
    if (sub === undefined && user_id === undefined)
      context.addIssue({ code: "custom", message: "sub or user_id must name the user" });
    if (sub !== undefined && user_id !== undefined && sub !== user_id)
      context.addIssue({ code: "custom", message: "sub and user_id name two users" });
    if (exp <= iat) context.addIssue({ code: "custom", message: "exp is not after iat" });
  });

/**
 * JSON Web Tokens (RFC 7519). Our own tokens must be signed with HS256: the library would also accept HS384, HS512 and,
 * with an empty key, `none`.
 * @throws {RangeError} a secret is missing or too short
 */
export function createTokens({ secrets, provider, audience, now = Date.now }: TokensOptions): Tokens {
  const [signing] = secrets;
  if (signing === undefined || secrets.some((secret) => secret.length < MIN_SECRET_LENGTH))
    throw new RangeError(`a token secret must have at least ${MIN_SECRET_LENGTH} characters`);
  // Key objects are created once: jsonwebtoken first tries a string as a public key, which takes 1.2 ms per token.
  const keys = secrets.map((secret) => createSecretKey(Buffer.from(secret)));

  function verify(token: string): TokenIdentity {
    if (token.length > MAX_TOKEN_LENGTH) throw new InvalidTokenError("Invalid token: too long");
    const nowSeconds = now() / 1000;
    const key = provider?.keyOf(token);
    const isFromProvider = provider !== undefined && key !== undefined;
    const claims = isFromProvider
      ? providerClaims(token, key, provider, nowSeconds)
      : signedClaims(token, keys, nowSeconds);
    if (!isFromProvider) checkAudience(claims, audience);
    const result = claimsSchema.safeParse(claims);
    if (!result.success) throw invalid(result.error);
    const { sub, user_id, permissions, iat, exp, jti, sid, nbf = 0, rev } = result.data;
    const claimedId = user_id ?? sub ?? "";
    const sessionId = !isFromProvider && typeof sid === "string" && SESSION_ID.test(sid) ? sid : undefined;
    // A user of the provider gets a token of ours only by a login: the session's id leads to the account.
    const user = (isFromProvider || sessionId !== undefined ? userIdSchema : ownUserIdSchema).safeParse(
      isFromProvider ? PROVIDER_PREFIX + claimedId : claimedId,
    );
    if (!user.success) throw invalid(user.error);
    if (iat > nowSeconds + CLOCK_SKEW_SECONDS) throw new InvalidTokenError("Invalid token: issued in the future");
    if (nbf > nowSeconds + CLOCK_SKEW_SECONDS) throw new InvalidTokenError("Invalid token: not valid yet");
    const issuedAt = !isFromProvider && typeof rev === "number" ? Math.max(iat, rev) : iat;
    const identity: TokenIdentity = {
      ...{ userId: user.data, permissions, tokenId: jti },
      ...{ issuedAt: Math.round(issuedAt * 1000), expiresAt: Math.round(exp * 1000) },
    };
    return sessionId === undefined ? identity : { ...identity, sessionId };
  }

  function mint({ userId, permissions, ttlSeconds, sessionId, ...grant }: Parameters<Tokens["mint"]>[0]) {
    const { tokenId = randomUUID(), issuedAt: minIssuedAt = 0 } = grant;
    // RFC 7519 allows fractions of a second. Milliseconds distinguish tokens minted just before and after a revocation.
    const issuedAt = now();
    const expiresAt = issuedAt + ttlSeconds * 1000;
    const [iat, exp] = [issuedAt / 1000, expiresAt / 1000];
    // `user_id` repeats the standard `sub` for programs that were written for the predecessor.
    const subject = { sub: userId, user_id: userId, permissions: [...permissions] };
    const claims = {
      ...{ ...subject, iat, exp, jti: tokenId },
      ...(sessionId === undefined ? {} : { sid: sessionId }),
      ...(minIssuedAt <= issuedAt ? {} : { rev: minIssuedAt / 1000 }),
    };
    return { token: jsonwebtoken.sign(claims, signing ?? "", { algorithm: "HS256" }), tokenId, expiresAt };
  }

  return { now, prepare: (token) => provider?.prepare(token), verify, mint };
}

/** The user and the session that a token claims to be of. Nothing is verified. Undefined for a token without a session. */
export function claimedSession(token: string): { userId: string; sessionId: string } | undefined {
  if (token.length > MAX_TOKEN_LENGTH) return undefined;
  const claims = z.object({ sub: z.string(), sid: z.string() }).safeParse(decoded(token)).data;
  return claims === undefined ? undefined : { userId: claims.sub, sessionId: claims.sid };
}

/** The claims of a token that is not verified. Undefined if the token is malformed. */
function decoded(token: string): unknown {
  try {
    return jsonwebtoken.decode(token);
  } catch {
    // The library throws for claims that are not JSON.
    return undefined;
  }
}

function invalid({ issues: [issue] }: z.ZodError): InvalidTokenError {
  return new InvalidTokenError(`Invalid token: ${[...(issue?.path ?? []), issue?.message].join(" ")}`);
}

/** `nbf` is checked with the other claims, because the issuer's clock may be ahead. */
const VERIFY_OPTIONS = { complete: true, ignoreNotBefore: true } as const;

/** @throws {InvalidTokenError} the token has critical header fields: none is supported (RFC 7515, section 4.1.11) */
function claimsOf({ header, payload }: jsonwebtoken.Jwt): unknown {
  if ("crit" in header) throw new InvalidTokenError("Invalid token: it has critical header fields (crit)");
  return payload;
}

const audienceSchema = z.object({ aud: z.union([z.string(), z.array(z.string())]).optional() });

/** Rejects tokens for other programs that share the secret (RFC 7519, section 4.1.3). @throws {InvalidTokenError} */
function checkAudience(claims: unknown, audience: string | undefined): void {
  const { aud } = audienceSchema.safeParse(claims).data ?? { aud: "" };
  if (aud === undefined || (audience !== undefined && [aud].flat().includes(audience))) return;
  throw new InvalidTokenError("Invalid token: its audience (aud) does not match JWT_AUDIENCE");
}

function refusalOf(error: unknown): InvalidTokenError {
  if (error instanceof InvalidTokenError) return error;
  const isExpired = error instanceof jsonwebtoken.TokenExpiredError;
  return isExpired ? new ExpiredTokenError("The token has expired") : new InvalidTokenError("Invalid token");
}

function providerClaims(token: string, key: KeyObject, provider: IdentityProvider, clockTimestamp: number): unknown {
  const { issuer, audience } = provider;
  const options = { ...VERIFY_OPTIONS, algorithms: [...PROVIDER_ALGORITHMS], issuer, audience, clockTimestamp };
  try {
    const claims = claimsOf(jsonwebtoken.verify(token, key, options));
    const read = z.record(z.string(), z.unknown()).safeParse(claims);
    return read.success ? { ...read.data, permissions: provider.permissionsOf(read.data) } : claims;
  } catch (error) {
    throw refusalOf(error);
  }
}

function signedClaims(token: string, keys: readonly KeyObject[], clockTimestamp: number): unknown {
  for (const key of keys) {
    try {
      return claimsOf(jsonwebtoken.verify(token, key, { ...VERIFY_OPTIONS, algorithms: ["HS256"], clockTimestamp }));
    } catch (error) {
      const isOtherKey = error instanceof jsonwebtoken.JsonWebTokenError && error.message === "invalid signature";
      if (!isOtherKey) throw refusalOf(error);
    }
  }
  throw new InvalidTokenError("Invalid token");
}
