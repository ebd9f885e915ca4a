import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { Documents, StoredDocument } from "../cluster/cluster.ts";
import type { Account, Accounts } from "./accounts.ts";
import type { Revocations } from "./revocations.ts";
import type { Tokens } from "./tokens.ts";

/**
 * How long the refresh token before the newest may come once more without harm: two pages of one browser renew at one
 * moment, or an answer was lost on a bad link and is asked for again. Longer than a client waits for an answer.
 */
export const REFRESH_GRACE_MS = 30_000;
const COLLECTION = "refresh";
const SESSION_BYTES = 12;
/** A secret is random bytes, and as many that prove that it was handed out here. */
const HALF_SECRET_BYTES = 16;
const SEED_BYTES = 32;
/** Other requests may change the session at the same moment. */
const MAX_ATTEMPTS = 3;
const REFRESH_TOKEN = /^([0-9a-f]{12}-[0-9a-f]{24})\.([A-Za-z0-9_-]{43})$/;

/** What a login, and each refresh, hands out. */
export interface Login {
  userId: string;
  sessionId: string;
  token: string;
  tokenId: string;
  permissions: readonly string[];
  /** Seconds. */
  expiresIn: number;
  refreshToken: string;
  /** Seconds. */
  refreshExpiresIn: number;
}

/** Whose session it is or was. */
export interface SessionName {
  userId: string;
  sessionId: string;
}

/** The refresh token is unknown, over, or of an account that is not what it was. */
export class RefreshRefusedError extends Error {
  override name = "RefreshRefusedError";
}

/** An older refresh token came again: somebody has a copy. The session is ended. */
export class RefreshReusedError extends RefreshRefusedError {
  override name = "RefreshReusedError";
  readonly session: SessionName;

  constructor(session: SessionName) {
    super("The refresh token was used before: the session is ended, log in again");
    this.session = session;
  }
}

/**
 * The logins of accounts. Each lives by a refresh token that is good for one use, and hands out short-lived access
 * tokens; when an older refresh token comes again, one of two holders is a thief, and both lose the session
 * (RFC 9700, section 4.14.2). The next token is made of the one before and a seed that is kept with the session, so a
 * request that is repeated within {@link REFRESH_GRACE_MS} is answered with the same one: nobody is logged out because
 * an answer did not arrive.
 *
 * A session's id is no secret: access tokens and the audit log name it. So each secret shows by itself that it is, or was,
 * one of the session's; anything else behind the id ends nothing.
 */
export interface Sessions {
  /** @throws {StoreUnavailableError} */
  open(account: Account): Promise<Login>;
  /**
   * @throws {RefreshRefusedError} @throws {RefreshReusedError}
   * @throws {StoreUnavailableError} the token may have been used up or not: to try again within the grace does no harm
   */
  refresh(refreshToken: string): Promise<Login>;
  /**
   * Ends the session of the refresh token, its access tokens included.
   * @returns undefined when there is none
   * @throws {StoreUnavailableError}
   */
  end(refreshToken: string): Promise<SessionName | undefined>;
  /** Ends the session, whether there is one or not: its access tokens, and its refresh token for good. @throws {StoreUnavailableError} */
  revoke(sessionId: string): Promise<void>;
}

export interface SessionsOptions {
  documents: Pick<Documents, "get" | "put" | "delete">;
  accounts: Pick<Accounts, "get">;
  revocations: Pick<Revocations, "add" | "covers" | "issueTime">;
  tokens: Pick<Tokens, "mint">;
  config: { accessTokenTtlSeconds: number; refreshTokenTtlSeconds: number };
  now: () => number;
}

const documentSchema = z.object({
  userId: z.string(),
  /** What the secrets are marked with, and those after the first are made with. */
  seed: z.string(),
  /** SHA-256 of the secret that is good now, base64url: it is random, so no more than that is needed to hide it. */
  hash: z.string(),
  /** Of the one before. */
  previous: z.string().optional(),
  /** Milliseconds since 1970. */
  openedAt: z.number(),
  rotatedAt: z.number(),
});
type SessionDocument = z.infer<typeof documentSchema>;

export function createSessions(options: SessionsOptions): Sessions {
  const { documents, accounts, revocations, tokens, config, now } = options;
  const { accessTokenTtlSeconds, refreshTokenTtlSeconds } = config;
  const expiresAt = () => now() + refreshTokenTtlSeconds * 1000;

  function grant({ userId, permissions }: Account, sessionId: string, secret: string): Login {
    const life = { ttlSeconds: accessTokenTtlSeconds, issuedAt: revocations.issueTime(userId) };
    const { token, tokenId } = tokens.mint({ userId, permissions, sessionId, ...life });
    return {
      ...{ userId, sessionId, token, tokenId, permissions, expiresIn: accessTokenTtlSeconds },
      ...{ refreshToken: `${sessionId}.${secret}`, refreshExpiresIn: refreshTokenTtlSeconds },
    };
  }

  async function find(refreshToken: string) {
    const [, sessionId, secret] = REFRESH_TOKEN.exec(refreshToken) ?? [];
    if (sessionId === undefined || secret === undefined) return undefined;
    const stored = await documents.get(COLLECTION, sessionId);
    const session = read(stored);
    return stored === undefined || session === undefined
      ? undefined
      : { sessionId, secret, session, version: stored.version };
  }

  /** The access tokens first: should the second write fail, the refresh token is still there to try again with. */
  async function revoke(sessionId: string): Promise<void> {
    await revocations.add({ kind: "session", id: sessionId });
    await documents.delete(COLLECTION, sessionId);
  }

  return {
    async open(account) {
      const sessionId = `${account.generation}-${randomBytes(SESSION_BYTES).toString("hex")}`;
      const seed = randomBytes(SEED_BYTES).toString("base64url");
      const secret = marked(randomBytes(HALF_SECRET_BYTES), seed);
      const session = {
        ...{ userId: account.userId, seed, hash: hashOf(secret) },
        ...{ openedAt: revocations.issueTime(account.userId), rotatedAt: now() },
      };
      await documents.put(COLLECTION, sessionId, session, { expiresAt: expiresAt() });
      return grant(account, sessionId, secret);
    },

    async refresh(refreshToken) {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        const found = await find(refreshToken);
        if (found === undefined) throw refused();
        const { sessionId, secret, session, version } = found;
        const { userId } = session;
        const account = accounts.get(userId);
        const isCurrent = account?.enabled === true && sessionId.startsWith(`${account.generation}-`);
        const identity = { userId, sessionId, tokenId: undefined, issuedAt: session.openedAt };
        if (!isCurrent || revocations.covers(identity)) {
          await documents.delete(COLLECTION, sessionId);
          throw refused();
        }
        const hash = hashOf(secret);
        const next = secretAfter(secret, session.seed);
        if (same(hash, session.hash)) {
          const rotated = { ...session, hash: hashOf(next), previous: hash, rotatedAt: now() };
          const options = { ifVersion: version, expiresAt: expiresAt() };
          const written = await documents.put(COLLECTION, sessionId, rotated, options);
          if (written !== undefined) return grant(account, sessionId, next);
          // Another request was faster: with the same token, what it was answered with is the answer to this one too.
        } else if (same(hash, session.previous ?? "") && now() - session.rotatedAt <= REFRESH_GRACE_MS) {
          return grant(account, sessionId, next);
        } else if (isMarked(secret, session.seed)) {
          await revoke(sessionId);
          throw new RefreshReusedError({ userId, sessionId });
        } else throw refused();
      }
      throw new StoreUnavailableError("the session is being changed all the time: try again");
    },

    async end(refreshToken) {
      const found = await find(refreshToken);
      if (found === undefined || !isMarked(found.secret, found.session.seed)) return undefined;
      const name = { userId: found.session.userId, sessionId: found.sessionId };
      await revoke(name.sessionId);
      return name;
    },

    revoke,
  };
}

function read(stored: StoredDocument | undefined): SessionDocument | undefined {
  return documentSchema.safeParse(stored?.value).data;
}

/** Whoever has the store alone, or a used secret alone, cannot make it. */
function secretAfter(secret: string, seed: string): string {
  return marked(halfOf(seed, secret), seed);
}

function marked(half: Buffer, seed: string): string {
  return Buffer.concat([half, halfOf(seed, half)]).toString("base64url");
}

function isMarked(secret: string, seed: string): boolean {
  return same(secret, marked(Buffer.from(secret, "base64url").subarray(0, HALF_SECRET_BYTES), seed));
}

function halfOf(seed: string, of: string | Buffer): Buffer {
  return createHmac("sha256", seed).update(of).digest().subarray(0, HALF_SECRET_BYTES);
}

function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("base64url");
}

function same(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}

function refused(): RefreshRefusedError {
  return new RefreshRefusedError("The refresh token is not good any more: log in again");
}
