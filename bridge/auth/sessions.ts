import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { visible } from "../../contract/visible-text.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { Documents } from "../cluster/cluster.ts";
import { type Account, type Accounts, permissionsInToken } from "./accounts.ts";
import type { Revocations } from "./revocations.ts";
import type { Tokens } from "./tokens.ts";

/**
 * How long the previous refresh token stays valid: two pages of a browser may refresh at once, and a client repeats a
 * request whose response was lost. Longer than a client waits for a response.
 */
export const REFRESH_GRACE_MS = 30_000;
/** The most sessions of one user that `GET /users/{id}/sessions` lists. */
export const MAX_LISTED_SESSIONS = 200;
/** The most surplus sessions that one login ends, each by a revocation. There are more only after the limit was lowered. */
const MAX_ENDED_AT_LOGIN = 20;
/** Characters. */
const MAX_USER_AGENT_LENGTH = 200;
const COLLECTION = "refresh";
const SESSION_BYTES = 12;
/** A secret consists of this many random bytes, and a tag of the same length that proves that we issued the secret. */
const HALF_SECRET_BYTES = 16;
const SEED_BYTES = 32;
/** Other requests may change the session at the same time. */
const MAX_ATTEMPTS = 3;
const REFRESH_TOKEN = /^([0-9a-f]{12}-[0-9a-f]{24})\.([A-Za-z0-9_-]{43})$/;

export interface Login {
  userId: string;
  sessionId: string;
  token: string;
  tokenId: string;
  permissions: readonly string[];
  /** Lifetime of the access token, seconds. */
  expiresIn: number;
  refreshToken: string;
  /** Lifetime of the refresh token, seconds. */
  refreshExpiresIn: number;
}

export type SessionName = Pick<Login, "userId" | "sessionId">;

/** Where a login or a refresh came from, for the user's list of sessions. */
export interface SessionOrigin {
  address?: string | undefined;
  /** The header `User-Agent`. */
  userAgent?: string | undefined;
}

export interface SessionInfo extends SessionOrigin {
  sessionId: string;
  /** Milliseconds since 1970. */
  openedAt: number;
  /** When the session was opened or last refreshed, milliseconds since 1970. */
  usedAt: number;
}

/** The refresh token is unknown or expired; or its account was removed, disabled or given a new password. */
export class RefreshRefusedError extends Error {
  override name = "RefreshRefusedError";
}

/** An old refresh token was used again, so somebody has a copy. The session has ended. */
export class RefreshReusedError extends RefreshRefusedError {
  override name = "RefreshReusedError";
  readonly session: SessionName;

  constructor(session: SessionName) {
    super("The refresh token was used before: the session has ended, log in again");
    this.session = session;
  }
}

/**
 * The login sessions of accounts. A refresh token is valid for one use. Using it again ends the session, because a
 * thief may have a copy (RFC 9700, section 4.14.2). The next refresh token is derived from the previous one and a seed
 * in the store. So a request that is repeated within {@link REFRESH_GRACE_MS} gets the same refresh token again, and a
 * lost response logs nobody out. A session id is not secret: access tokens and the audit log contain it. So a tag in
 * each secret shows that the secret was issued for the session. Without the tag, nobody can end the session.
 */
export interface Sessions {
  /**
   * Beyond the most sessions of one user, ends those that were not used for the longest time.
   * @param maxSeconds the session ends after this time, however often it is refreshed. Default: no such end
   * @throws {StoreUnavailableError}
   */
  open(account: Account, origin?: SessionOrigin, maxSeconds?: number): Promise<Login>;
  /**
   * After a StoreUnavailableError, repeat the call within the grace period: the token may have been used up.
   * @throws {RefreshRefusedError} @throws {RefreshReusedError} @throws {StoreUnavailableError}
   */
  refresh(refreshToken: string, origin?: SessionOrigin): Promise<Login>;
  /** Ends the session. @returns undefined when there is no such session @throws {StoreUnavailableError} */
  end(refreshToken: string): Promise<SessionName | undefined>;
  /** The sessions of a user that can be refreshed, last used first. @throws {StoreUnavailableError} */
  list(userId: string): Promise<SessionInfo[]>;
  /** Ends the session, if it exists, and revokes its access tokens. @throws {StoreUnavailableError} */
  revoke(sessionId: string): Promise<void>;
}

interface SessionsOptions {
  documents: Pick<Documents, "get" | "list" | "put" | "delete">;
  accounts: Pick<Accounts, "get">;
  revocations: Pick<Revocations, "add" | "covers" | "issueTime">;
  tokens: Pick<Tokens, "mint">;
  config: { accessTokenTtlSeconds: number; refreshTokenTtlSeconds: number; maxSessionsPerUser: number };
  now: () => number;
}

const documentSchema = z.object({
  userId: z.string(),
  /** The key for the tags of all secrets, and for deriving the next secret. */
  seed: z.string(),
  /** SHA-256 of the current secret, base64url. The secret is random, so it needs no slow or salted hash. */
  hash: z.string(),
  /** SHA-256 of the previous secret. */
  previous: z.string().optional(),
  /** Milliseconds since 1970. */
  openedAt: z.number(),
  rotatedAt: z.number(),
  /** When the session ends in any case. Absent: while it is refreshed, it does not end. */
  endsAt: z.number().optional(),
  /** Of the last login or refresh. */
  address: z.string().optional(),
  userAgent: z.string().optional(),
});

type Session = z.infer<typeof documentSchema>;

interface Granted {
  sessionId: string;
  secret: string;
  endsAt: number | undefined;
}

export function createSessions(options: SessionsOptions): Sessions {
  const { documents, accounts, revocations, tokens, config, now } = options;
  const { accessTokenTtlSeconds, refreshTokenTtlSeconds, maxSessionsPerUser } = config;
  /** Seconds until the refresh token expires. */
  const refreshLife = (endsAt = Number.POSITIVE_INFINITY) =>
    Math.max(0, Math.min(refreshTokenTtlSeconds, Math.floor((endsAt - now()) / 1000)));
  const expiresAt = (endsAt?: number) => now() + refreshLife(endsAt) * 1000;

  function grant(account: Account, { sessionId, secret, endsAt }: Granted): Login {
    const { userId, permissions } = account;
    const life = { ttlSeconds: accessTokenTtlSeconds, issuedAt: revocations.issueTime(userId) };
    const { token, tokenId } = tokens.mint({ userId, permissions: permissionsInToken(account), sessionId, ...life });
    return {
      ...{ userId, sessionId, token, tokenId, permissions, expiresIn: accessTokenTtlSeconds },
      ...{ refreshToken: `${sessionId}.${secret}`, refreshExpiresIn: refreshLife(endsAt) },
    };
  }

  async function find(refreshToken: string) {
    const [, sessionId, secret] = REFRESH_TOKEN.exec(refreshToken) ?? [];
    if (sessionId === undefined || secret === undefined) return undefined;
    const stored = await documents.get(COLLECTION, sessionId);
    const session = documentSchema.safeParse(stored?.value).data;
    return stored && session && { sessionId, secret, session, version: stored.version };
  }

  /** The account whose session this is; undefined when the session has ended. */
  function accountOf(sessionId: string, { userId, openedAt, endsAt = Infinity }: Session): Account | undefined {
    if (endsAt <= now()) return undefined;
    const account = accounts.get(userId);
    const isCurrent = account?.enabled === true && sessionId.startsWith(`${account.generation}-`);
    const identity = { userId, sessionId, tokenId: undefined, issuedAt: openedAt };
    return isCurrent && !revocations.covers(identity) ? account : undefined;
  }

  /** The sessions that belong to the current generation of the account: no others can be refreshed. */
  async function sessionsOf({ userId, generation }: Account): Promise<{ key: string; session: Session }[]> {
    return (await documents.list(COLLECTION, `${generation}-`)).flatMap(({ key, value }) => {
      const session = documentSchema.safeParse(value).data;
      return session?.userId === userId ? [{ key, session }] : [];
    });
  }

  /** Revokes the access tokens first: if the second write fails, the client can retry with its refresh token. */
  async function revoke(sessionId: string): Promise<void> {
    await revocations.add({ kind: "session", id: sessionId });
    await documents.delete(COLLECTION, sessionId);
  }

  /** Makes room for one more session. */
  async function endSurplus(account: Account): Promise<void> {
    const sessions = await sessionsOf(account);
    const surplus = sessions.length + 1 - maxSessionsPerUser;
    if (surplus <= 0) return;
    sessions.sort((one, other) => one.session.rotatedAt - other.session.rotatedAt);
    await Promise.all(sessions.slice(0, Math.min(surplus, MAX_ENDED_AT_LOGIN)).map(({ key }) => revoke(key)));
  }

  return {
    async open(account, origin = {}, maxSeconds) {
      await endSurplus(account);
      const sessionId = `${account.generation}-${randomBytes(SESSION_BYTES).toString("hex")}`;
      const seed = randomBytes(SEED_BYTES).toString("base64url");
      const secret = tagged(randomBytes(HALF_SECRET_BYTES), seed);
      const endsAt = maxSeconds === undefined ? undefined : now() + maxSeconds * 1000;
      const session = {
        ...{ userId: account.userId, seed, hash: hashOf(secret) },
        ...{ openedAt: revocations.issueTime(account.userId), rotatedAt: now() },
        ...stored({ ...origin, endsAt }),
      };
      await documents.put(COLLECTION, sessionId, session, { expiresAt: expiresAt(endsAt) });
      return grant(account, { sessionId, secret, endsAt });
    },

    async refresh(refreshToken, origin = {}) {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const found = await find(refreshToken);
        if (found === undefined) throw refused();
        const { sessionId, secret, session, version } = found;
        const { userId, endsAt } = session;
        const account = accountOf(sessionId, session);
        if (account === undefined) {
          await documents.delete(COLLECTION, sessionId);
          throw refused();
        }
        const hash = hashOf(secret);
        const next = secretAfter(secret, session.seed);
        if (equal(hash, session.hash)) {
          const { address, userAgent, endsAt: _, ...kept } = session;
          const from = stored({ address, userAgent, endsAt, ...origin });
          const rotated = { ...kept, ...from, hash: hashOf(next), previous: hash, rotatedAt: now() };
          const condition = { ifVersion: version, expiresAt: expiresAt(endsAt) };
          const written = await documents.put(COLLECTION, sessionId, rotated, condition);
          if (written !== undefined) return grant(account, { sessionId, secret: next, endsAt });
          // Another request was faster. If that request used the same refresh token, the next attempt grants the same
          // new token.
        } else if (equal(hash, session.previous ?? "") && now() - session.rotatedAt <= REFRESH_GRACE_MS) {
          return grant(account, { sessionId, secret: next, endsAt });
        } else if (hasValidTag(secret, session.seed)) {
          await revoke(sessionId);
          throw new RefreshReusedError({ userId, sessionId });
        } else throw refused();
      }
      throw new StoreUnavailableError("other requests keep changing the session: try again");
    },

    async end(refreshToken) {
      const found = await find(refreshToken);
      if (found === undefined || !hasValidTag(found.secret, found.session.seed)) return undefined;
      const session = { userId: found.session.userId, sessionId: found.sessionId };
      await revoke(session.sessionId);
      return session;
    },

    async list(userId) {
      const account = accounts.get(userId);
      const sessions = account === undefined ? [] : await sessionsOf(account);
      return sessions
        .flatMap(({ key, session }) => (accountOf(key, session) === undefined ? [] : [infoOf(key, session)]))
        .sort((one, other) => other.usedAt - one.usedAt);
    },

    revoke,
  };
}

function infoOf(sessionId: string, { openedAt, rotatedAt: usedAt, address, userAgent }: Session): SessionInfo {
  return { sessionId, openedAt, usedAt, address, userAgent };
}

/** JSON cannot express undefined properties. */
function stored({ address, userAgent, endsAt }: SessionOrigin & Pick<Session, "endsAt">) {
  return {
    ...(endsAt === undefined ? {} : { endsAt }),
    ...(address === undefined ? {} : { address }),
    ...(userAgent === undefined ? {} : { userAgent: visible(userAgent).slice(0, MAX_USER_AGENT_LENGTH) }),
  };
}

/** An attacker needs both the store and the previous secret to derive the next secret. */
const secretAfter = (secret: string, seed: string) => tagged(hmacHalf(seed, secret), seed);

const tagged = (half: Buffer, seed: string) => Buffer.concat([half, hmacHalf(seed, half)]).toString("base64url");

function hasValidTag(secret: string, seed: string): boolean {
  return equal(secret, tagged(Buffer.from(secret, "base64url").subarray(0, HALF_SECRET_BYTES), seed));
}

function hmacHalf(seed: string, input: string | Buffer): Buffer {
  return createHmac("sha256", seed).update(input).digest().subarray(0, HALF_SECRET_BYTES);
}

const hashOf = (secret: string) => createHash("sha256").update(secret).digest("base64url");

function equal(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}

const refused = () => new RefreshRefusedError("The refresh token is no longer valid: log in again");
