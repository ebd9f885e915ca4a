import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import type { Documents, StoredDocument } from "../cluster/cluster.ts";
import type { Tokens } from "../tokens.ts";
import type { Account, Accounts } from "./accounts.ts";
import type { Revocations } from "./revocations.ts";

/**
 * How long the refresh token before the newest may come once more without harm: two pages of one browser renew at one
 * moment, or an answer was lost on its way and the request is repeated.
 */
export const REFRESH_GRACE_MS = 5_000;
const COLLECTION = "refresh";
const SESSION_BYTES = 12;
const SECRET_BYTES = 32;
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

/** The refresh token was used a moment ago, perhaps by another page of the same browser. Nothing is ended. */
export class RefreshRacedError extends Error {
  override name = "RefreshRacedError";
}

/**
 * The logins of accounts. Each lives by a refresh token that is good for one use, and hands out short-lived access
 * tokens; when an older refresh token comes again, one of two holders is a thief, and both lose the session
 * (RFC 9700, section 4.14.2).
 */
export interface Sessions {
  /** @throws {StoreUnavailableError} */
  open(account: Account): Promise<Login>;
  /**
   * @throws {RefreshRefusedError} @throws {RefreshReusedError} @throws {RefreshRacedError}
   * @throws {StoreUnavailableError} the token may have been used up or not: to try again within the grace does no harm
   */
  refresh(refreshToken: string): Promise<Login>;
  /**
   * Ends the session of the refresh token, its access tokens included.
   * @returns undefined when there is none
   * @throws {StoreUnavailableError}
   */
  end(refreshToken: string): Promise<SessionName | undefined>;
}

export interface SessionsOptions {
  documents: Pick<Documents, "get" | "put" | "delete">;
  accounts: Pick<Accounts, "get">;
  revocations: Pick<Revocations, "add" | "covers">;
  tokens: Pick<Tokens, "mint">;
  config: { accessTokenTtlSeconds: number; refreshTokenTtlSeconds: number };
  now: () => number;
}

const documentSchema = z.object({
  userId: z.string(),
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
    const { token, tokenId } = tokens.mint({ userId, permissions, ttlSeconds: accessTokenTtlSeconds, sessionId });
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
      : { sessionId, hash: hashOf(secret), session, version: stored.version };
  }

  /** The access tokens first: should the second write fail, the refresh token is still there to try again with. */
  async function end(sessionId: string): Promise<void> {
    await revocations.add({ kind: "session", id: sessionId });
    await documents.delete(COLLECTION, sessionId);
  }

  return {
    async open(account) {
      const sessionId = `${account.generation}-${randomBytes(SESSION_BYTES).toString("hex")}`;
      const secret = newSecret();
      const session = { userId: account.userId, hash: hashOf(secret), openedAt: now(), rotatedAt: now() };
      await documents.put(COLLECTION, sessionId, session, { expiresAt: expiresAt() });
      return grant(account, sessionId, secret);
    },

    async refresh(refreshToken) {
      // A second look, should another request have been faster at the same moment.
      for (let attempt = 0; attempt < 2; attempt++) {
        const found = await find(refreshToken);
        if (found === undefined) throw refused();
        const { sessionId, hash, session, version } = found;
        const { userId } = session;
        const account = accounts.get(userId);
        const isCurrent = account?.enabled === true && sessionId.startsWith(`${account.generation}-`);
        const identity = { userId, sessionId, tokenId: undefined, issuedAt: session.openedAt };
        if (!isCurrent || revocations.covers(identity)) {
          await documents.delete(COLLECTION, sessionId);
          throw refused();
        }
        if (!same(hash, session.hash)) {
          const isPrevious = session.previous !== undefined && same(hash, session.previous);
          if (isPrevious && now() - session.rotatedAt <= REFRESH_GRACE_MS)
            throw new RefreshRacedError("The refresh token was used a moment ago: use what it was answered with");
          await end(sessionId);
          throw new RefreshReusedError({ userId, sessionId });
        }
        const secret = newSecret();
        const next = { ...session, hash: hashOf(secret), previous: hash, rotatedAt: now() };
        const written = await documents.put(COLLECTION, sessionId, next, {
          ifVersion: version,
          expiresAt: expiresAt(),
        });
        if (written !== undefined) return grant(account, sessionId, secret);
      }
      throw new RefreshRacedError("The refresh token is being used by another request: use what that is answered with");
    },

    async end(refreshToken) {
      const found = await find(refreshToken);
      if (found === undefined) return undefined;
      const name = { userId: found.session.userId, sessionId: found.sessionId };
      await end(name.sessionId);
      return name;
    },
  };
}

function read(stored: StoredDocument | undefined): SessionDocument | undefined {
  return documentSchema.safeParse(stored?.value).data;
}

function newSecret(): string {
  return randomBytes(SECRET_BYTES).toString("base64url");
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
