import { createSecretKey, type KeyObject, randomUUID } from "node:crypto";
import jsonwebtoken from "jsonwebtoken";
import { z } from "zod";
import type { TokenIdentity } from "../../platform/identity.ts";
import { MIN_SECRET_LENGTH } from "./config.ts";
import { type IdentityProvider, PROVIDER_ALGORITHMS } from "./identity-provider.ts";

export interface Tokens {
  /**
   * To be waited for before {@link verify}, when it is not undefined: the key of an identity provider is being fetched.
   * @throws {ProviderUnavailableError}
   */
  prepare(token: string): Promise<void> | undefined;
  /**
   * @throws {ExpiredTokenError} a good token whose time is over
   * @throws {InvalidTokenError} anything else that is not to be trusted
   */
  verify(token: string): TokenIdentity;
  /**
   * @param grant.ttlSeconds how long it lives, whole seconds
   * @param grant.tokenId its claim `jti`. Default: a random UUID
   * @param grant.issuedAt the moment that it bears towards revocations, milliseconds since 1970. Default: now
   */
  mint(grant: {
    userId: string;
    permissions: readonly string[];
    ttlSeconds: number;
    sessionId?: string;
    tokenId?: string;
    issuedAt?: number;
  }): {
    token: string;
    tokenId: string;
    /** Milliseconds since 1970. */
    expiresAt: number;
  };
}

export interface TokensOptions {
  /** The first signs, all verify, so that a secret can be replaced while its tokens live. Each at least 32 characters. */
  secrets: readonly string[];
  /** Its tokens are taken, too. Default: there is none. */
  provider?: IdentityProvider | undefined;
  /** What a token of our secrets must name, if it names an audience at all. Default: it must name none. */
  audience?: string | undefined;
  /** Default: the system's clock, milliseconds. */
  now?: () => number;
}

/** The token is wrong: malformed, of another key or algorithm, or its claims make no sense. */
export class InvalidTokenError extends Error {
  override name = "InvalidTokenError";
}

/** The token was good until its time was over. */
export class ExpiredTokenError extends InvalidTokenError {
  override name = "ExpiredTokenError";
}

/** The longest token that is looked at, characters. */
export const MAX_TOKEN_LENGTH = 8 * 1024;
export const MAX_PERMISSIONS = 100;
/** The form of our own session ids. The claim `sid` of another issuer names a session of its own, which is no business of ours. */
export const SESSION_ID = /^[0-9a-f]{12}-[0-9a-f]{24}$/;
/** How far the clock of another issuer may be ahead, seconds. */
export const CLOCK_SKEW_SECONDS = 60;

/** Who holds a token: it is shown in logs and lists, so nothing that does not print. */
export const userIdSchema = z
  .string()
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]{1,128}$/u, "must be 1 to 128 printable characters")
  .refine((text) => text.trim() === text, "must not begin or end with a blank");

/**
 * What the ids of an identity provider's users begin with here, and no others: whatever it calls a user, nobody takes him
 * for one of ours, his connections and client ids are not theirs, and to revoke the one is not to revoke the other.
 */
export const PROVIDER_PREFIX = "idp:";

/** Of those who have an account, or a token that was minted here. */
export const ownUserIdSchema = userIdSchema.refine(
  (text) => !text.startsWith(PROVIDER_PREFIX),
  `must not begin with ${PROVIDER_PREFIX}, as the users of an identity provider do`,
);

export const permissionsSchema = z
  .array(z.string().min(1, "must not be empty").max(128, "must have at most 128 characters"))
  .max(MAX_PERMISSIONS, `must be at most ${MAX_PERMISSIONS}`);

/** Bytes of the permissions of one user as JSON: with more, a token would be longer than any that is looked at. */
const MAX_GRANTED_BYTES = 4_096;

/** What may be given to somebody. */
export const grantedPermissionsSchema = permissionsSchema.refine(
  (permissions) => Buffer.byteLength(JSON.stringify(permissions)) <= MAX_GRANTED_BYTES,
  `must have at most ${MAX_GRANTED_BYTES} bytes together, or no token could hold them`,
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
    /** Of our own: the token was minted knowing of all revocations of tokens that were issued before this moment. */
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
 * Reads and makes JSON Web Tokens (RFC 7519). Of our own only HS256 is read: the library would take HS384, HS512 and, with an
 * empty key, `none`. @throws {RangeError} for a secret that is missing or too short
 */
export function createTokens({ secrets, provider, audience, now = Date.now }: TokensOptions): Tokens {
  const [signing] = secrets;
  if (signing === undefined || secrets.some((secret) => secret.length < MIN_SECRET_LENGTH))
    throw new RangeError(`a token secret must have at least ${MIN_SECRET_LENGTH} characters`);
  // Made once: given a string, jsonwebtoken tries it as a public key first, at 1.2 ms a token.
  const keys = secrets.map((secret) => createSecretKey(Buffer.from(secret)));

  function verify(token: string): TokenIdentity {
    if (token.length > MAX_TOKEN_LENGTH) throw new InvalidTokenError("Invalid token: too long");
    const nowSeconds = now() / 1000;
    const key = provider?.keyOf(token);
    const isForeign = provider !== undefined && key !== undefined;
    const claims = isForeign ? providerClaims(token, key, provider, nowSeconds) : signedClaims(token, keys, nowSeconds);
    if (!isForeign) checkAudience(claims, audience);
    const result = claimsSchema.safeParse(claims);
    if (!result.success) throw invalid(result.error);
    const { sub, user_id, permissions, iat, exp, jti, sid, nbf = 0, rev } = result.data;
    const named = user_id ?? sub ?? "";
    const user = isForeign ? userIdSchema.safeParse(PROVIDER_PREFIX + named) : ownUserIdSchema.safeParse(named);
    if (!user.success) throw invalid(user.error);
    if (iat > nowSeconds + CLOCK_SKEW_SECONDS) throw new InvalidTokenError("Invalid token: issued in the future");
    if (nbf > nowSeconds + CLOCK_SKEW_SECONDS) throw new InvalidTokenError("Invalid token: not valid yet");
    const issuedAt = !isForeign && typeof rev === "number" ? Math.max(iat, rev) : iat;
    const identity: TokenIdentity = {
      ...{ userId: user.data, permissions, tokenId: jti },
      ...{ issuedAt: Math.round(issuedAt * 1000), expiresAt: Math.round(exp * 1000) },
    };
    return !isForeign && typeof sid === "string" && SESSION_ID.test(sid) ? { ...identity, sessionId: sid } : identity;
  }

  function mint({ userId, permissions, ttlSeconds, sessionId, ...grant }: Parameters<Tokens["mint"]>[0]) {
    const { tokenId = randomUUID(), issuedAt: asked = 0 } = grant;
    // To the millisecond, as RFC 7519 allows: a token minted right after a revocation is told from one minted before.
    const issuedAt = now();
    const expiresAt = issuedAt + ttlSeconds * 1000;
    const [iat, exp] = [issuedAt / 1000, expiresAt / 1000];
    // `user_id` beside the standard `sub`: programs written for the predecessor read that one.
    const subject = { sub: userId, user_id: userId, permissions: [...permissions] };
    const claims = {
      ...{ ...subject, iat, exp, jti: tokenId },
      ...(sessionId === undefined ? {} : { sid: sessionId }),
      ...(asked <= issuedAt ? {} : { rev: asked / 1000 }),
    };
    return { token: jsonwebtoken.sign(claims, signing ?? "", { algorithm: "HS256" }), tokenId, expiresAt };
  }

  return { prepare: (token) => provider?.prepare(token), verify, mint };
}

function invalid({ issues: [issue] }: z.ZodError): InvalidTokenError {
  return new InvalidTokenError(`Invalid token: ${[...(issue?.path ?? []), issue?.message].join(" ")}`);
}

/** When a token begins to be good is looked at with the others of its claims: its issuer's clock may be ahead. */
const READING = { complete: true, ignoreNotBefore: true } as const;

/**
 * The claims of a token of which nothing must be understood that is not (RFC 7515, section 4.1.11).
 * @throws {InvalidTokenError}
 */
function understood({ header, payload }: jsonwebtoken.Jwt): unknown {
  if ("crit" in header) throw new InvalidTokenError("Invalid token: it has critical header fields (crit)");
  return payload;
}

const audienceSchema = z.object({ aud: z.union([z.string(), z.array(z.string())]).optional() });

/**
 * A secret may be shared with other programs, whose tokens are not for us (RFC 7519, section 4.1.3).
 * @throws {InvalidTokenError}
 */
function checkAudience(claims: unknown, audience: string | undefined): void {
  const { aud } = audienceSchema.safeParse(claims).data ?? { aud: "" };
  if (aud === undefined || (audience !== undefined && [aud].flat().includes(audience))) return;
  throw new InvalidTokenError("Invalid token: its audience (aud) is not that of JWT_AUDIENCE");
}

/** The claims of a token that the provider has signed for us. */
function providerClaims(
  token: string,
  key: KeyObject,
  { issuer, audience }: IdentityProvider,
  clockTimestamp: number,
): unknown {
  try {
    const algorithms = [...PROVIDER_ALGORITHMS];
    return understood(jsonwebtoken.verify(token, key, { ...READING, algorithms, issuer, audience, clockTimestamp }));
  } catch (error) {
    if (error instanceof InvalidTokenError) throw error;
    if (error instanceof jsonwebtoken.TokenExpiredError) throw new ExpiredTokenError("The token has expired");
    throw new InvalidTokenError("Invalid token");
  }
}

/** The claims of a token that one of the secrets has signed. */
function signedClaims(token: string, keys: readonly KeyObject[], clockTimestamp: number): unknown {
  for (const key of keys) {
    try {
      return understood(jsonwebtoken.verify(token, key, { ...READING, algorithms: ["HS256"], clockTimestamp }));
    } catch (error) {
      if (error instanceof InvalidTokenError) throw error;
      if (error instanceof jsonwebtoken.TokenExpiredError) throw new ExpiredTokenError("The token has expired");
      const otherKey = error instanceof jsonwebtoken.JsonWebTokenError && error.message === "invalid signature";
      if (!otherKey) throw new InvalidTokenError("Invalid token");
    }
  }
  throw new InvalidTokenError("Invalid token");
}
