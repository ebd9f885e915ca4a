import { setTimeout as after } from "node:timers/promises";
import { z } from "zod";
import type { TokenIdentity } from "../../platform/identity.ts";
import { CachedCollection, type StoreOptions } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";
import { CLOCK_SKEW_SECONDS } from "./tokens.ts";

/** Each node keeps all revocations in memory. */
const MAX_REVOCATIONS = 100_000;
/** The shortest time that a revocation is kept, 30 days: tokens of another issuer may live longer than ours. */
const MIN_REVOCATION_MS = 30 * 86_400_000;
/** Expired tokens may be accepted for a while: nodes' clocks differ, and open connections have a grace period. */
const MARGIN_MS = 5 * 60_000;
const EVICTION_INTERVAL_MS = 60_000;
/** Longer than one millisecond, the resolution of the time in tokens. */
const CLOCK_STEP_MS = 2;
const COLLECTION = "revocations";

/** Revokes one token, the tokens of one session, or all tokens that were issued before a point in time. */
export type Revocation =
  | { kind: "token"; id: string }
  | { kind: "session"; id: string }
  /** `issuedBefore` in milliseconds since 1970; default: revokes all tokens that were issued until now. */
  | { kind: "user"; id: string; issuedBefore?: number | undefined }
  | { kind: "everybody"; issuedBefore: number };

export interface Revocations {
  /** Reads from memory. */
  covers(identity: Pick<TokenIdentity, "userId" | "tokenId" | "sessionId" | "issuedAt">): boolean;
  /**
   * The `issuedAt` of a new token, milliseconds since 1970: usually the current time. A revocation may cover tokens
   * that are issued up to a minute from now, because clocks differ. A new token must not be covered, so its `issuedAt`
   * is then the end of that minute.
   */
  issueTime(userId: string): number;
  /** Resolves when durable and in effect on this node. @throws {TooManyRevocationsError} @throws {StoreUnavailableError} */
  add(revocation: Revocation): Promise<void>;
  onChange(listener: () => void): () => void;
  stop(): void;
}

interface RevocationsOptions extends StoreOptions {
  /** The longest lifetime of an access token. The revocation of a session is kept for this time. */
  sessionTokenMs: number;
  /**
   * The longest lifetime of an unused refresh token. A revocation of a user is kept for at least this time, or the
   * refresh token would become valid again.
   */
  refreshTokenMs: number;
  /** The longest lifetime of a minted token. */
  mintedTokenMs: number;
  /**
   * The clock by which revocations expire. If it were set ahead, revocations would expire early, and revoked tokens
   * would be valid again. Default: `now`.
   */
  expiryNow?: () => number;
}

export class TooManyRevocationsError extends Error {
  override name = "TooManyRevocationsError";
}

const documentSchema = z.object({
  issuedBefore: z.number().optional(),
  /**
   * Whether `issuedBefore` was set ahead of the current time, to revoke also the tokens of issuers whose clocks are
   * ahead. New tokens then carry `issuedBefore` as the claim `rev`.
   */
  reachesAhead: z.boolean().optional(),
  expiresAt: z.number(),
});

/** @throws {StoreUnavailableError} */
export async function openRevocations(options: RevocationsOptions): Promise<Revocations> {
  const { documents, sessionTokenMs, refreshTokenMs, mintedTokenMs, logger, now = Date.now, expiryNow = now } = options;
  const longestMs = Math.max(mintedTokenMs, refreshTokenMs, MIN_REVOCATION_MS);
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const evictExpired = () => collection.evict(({ expiresAt }) => expiresAt <= expiryNow());
  const timer = setInterval(evictExpired, EVICTION_INTERVAL_MS).unref();

  const isRevoked = (key: string) => collection.get(key) !== undefined;
  const issueTime = (userId: string) => {
    const revoked = collection.get(`user:${userId}`);
    return revoked?.reachesAhead ? Math.max(now(), revoked.issuedBefore ?? 0) : now();
  };
  const isBefore = (key: string, issuedAt: number) => issuedAt < (collection.get(key)?.issuedBefore ?? 0);

  return {
    covers: ({ userId, tokenId, sessionId, issuedAt }) =>
      collection.size > 0 &&
      ((tokenId !== undefined && isRevoked(`token:${tokenId}`)) ||
        (sessionId !== undefined && isRevoked(`session:${sessionId}`)) ||
        isBefore(`user:${userId}`, issuedAt) ||
        isBefore("everybody", issuedAt)),
    issueTime,
    async add(revocation) {
      const key = revocation.kind === "everybody" ? "everybody" : `${revocation.kind}:${revocation.id}`;
      if (collection.size >= MAX_REVOCATIONS) evictExpired();
      if (collection.size >= MAX_REVOCATIONS && collection.get(key) === undefined)
        throw new TooManyRevocationsError(
          `There are ${MAX_REVOCATIONS} revocations already: wait until some expire, or replace JWT_SECRET`,
        );
      const lifeMs = revocation.kind === "session" ? sessionTokenMs : longestMs;
      const allIssuedBefore = now() + 1 + CLOCK_SKEW_SECONDS * 1000;
      const expiresAt = now() + lifeMs + MARGIN_MS;
      await changeDocument(documents, { collection: COLLECTION, key }, (stored) => {
        if (revocation.kind !== "user" && revocation.kind !== "everybody") return { value: { expiresAt }, expiresAt };
        const before = documentSchema.safeParse(stored?.value).data;
        // Revoked tokens stay revoked: a later revocation never lowers `issuedBefore`.
        const covered = before?.issuedBefore ?? 0;
        // Tokens minted since the previous revocation carry its `issuedBefore`. The new value is higher by at least 1
        // ms, so these tokens are revoked too.
        const issuedBefore = Math.max(
          revocation.issuedBefore === undefined ? covered + 1 : covered,
          revocation.issuedBefore ?? allIssuedBefore,
        );
        const reachesAhead = revocation.issuedBefore === undefined || before?.reachesAhead === true;
        return { value: { issuedBefore, expiresAt, ...(reachesAhead ? { reachesAhead } : {}) }, expiresAt };
      });
      await collection.refresh(key);
      // A token minted after this call must have a later time than any token minted before it.
      await after(CLOCK_STEP_MS);
    },
    onChange: (listener) => collection.onChange(listener),
    stop() {
      clearInterval(timer);
      collection.stop();
    },
  };
}
