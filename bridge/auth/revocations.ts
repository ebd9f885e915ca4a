import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { z } from "zod";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Documents } from "../cluster/cluster.ts";
import { CachedCollection } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";
import { CLOCK_SKEW_SECONDS } from "./tokens.ts";

/** Revocations that hold at one time: each node has them all in memory. */
export const MAX_REVOCATIONS = 100_000;
/** How long a revocation is kept at least, should tokens of another issuer live longer than ours. 30 days. */
export const MIN_REVOCATION_MS = 30 * 86_400_000;
/** A token may be taken for a moment after its end: clocks of nodes differ, and an open connection has some grace. */
const MARGIN_MS = 5 * 60_000;
const FORGET_INTERVAL_MS = 60_000;
/** Longer than the millisecond that tokens tell their time in. */
const CLOCK_STEP_MS = 2;
const COLLECTION = "revocations";

/** Which tokens are good no more: one, those of one login, or those that were issued before a moment. */
export type Revocation =
  | { kind: "token"; id: string }
  | { kind: "session"; id: string }
  /** Moments in milliseconds since 1970: tokens that were issued then or later are good. Default: those issued after this. */
  | { kind: "user"; id: string; issuedBefore?: number | undefined }
  | { kind: "everybody"; issuedBefore: number };

export interface Revocations {
  /** As known in memory. */
  covers(identity: Pick<TokenIdentity, "userId" | "tokenId" | "sessionId" | "issuedAt">): boolean;
  /**
   * The moment that a token of the user which is minted now must bear, milliseconds since 1970: now, or, after a revocation
   * that reaches into the future, the end of what that covers.
   */
  issueTime(userId: string): number;
  /** Durable, and known here, when it resolves. @throws {TooManyRevocationsError} @throws {StoreUnavailableError} */
  add(revocation: Revocation): Promise<void>;
  onChange(listener: () => void): () => void;
  stop(): void;
}

export interface RevocationsOptions {
  documents: Documents;
  /** The longest life of an access token of a login, milliseconds: so long the end of one must be remembered. */
  sessionTokenMs: number;
  /** The longest life of an unused refresh token, milliseconds: it is not to outlive what has ended all of its user's. */
  refreshTokenMs: number;
  /** The longest life of a token that is minted, milliseconds. */
  mintedTokenMs: number;
  logger: Logger;
  /** Milliseconds since 1970. Default: the clock. */
  now?: () => number;
  /** The clock by which revocations are forgotten: were it set ahead, revoked tokens would be good again. Default: `now`. */
  expiryNow?: () => number;
}

export class TooManyRevocationsError extends Error {
  override name = "TooManyRevocationsError";
}

const documentSchema = z.object({
  issuedBefore: z.number().optional(),
  /** All tokens so far were revoked, those from a clock that is ahead too: what is minted next says that it is newer. */
  reachesAhead: z.boolean().optional(),
  expiresAt: z.number(),
});

/** @throws {StoreUnavailableError} the revocations cannot be read */
export async function openRevocations(options: RevocationsOptions): Promise<Revocations> {
  const { documents, sessionTokenMs, refreshTokenMs, mintedTokenMs, logger, now = Date.now, expiryNow = now } = options;
  const longestMs = Math.max(mintedTokenMs, refreshTokenMs, MIN_REVOCATION_MS);
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const forget = () => collection.forget(({ expiresAt }) => expiresAt <= expiryNow());
  const timer = setInterval(forget, FORGET_INTERVAL_MS).unref();

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
      if (collection.size >= MAX_REVOCATIONS) forget();
      if (collection.size >= MAX_REVOCATIONS && collection.get(key) === undefined)
        throw new TooManyRevocationsError(`${MAX_REVOCATIONS} revocations hold already: revoke by user instead`);
      const lifeMs = revocation.kind === "session" ? sessionTokenMs : longestMs;
      const allSoFar = now() + 1 + CLOCK_SKEW_SECONDS * 1000;
      const expiresAt = now() + lifeMs + MARGIN_MS;
      await changeDocument(documents, { collection: COLLECTION, key }, (stored) => {
        if (revocation.kind !== "user" && revocation.kind !== "everybody") return { value: { expiresAt }, expiresAt };
        const before = documentSchema.safeParse(stored?.value).data;
        // What was revoked stays so, whatever is revoked later.
        const covered = before?.issuedBefore ?? 0;
        // What was minted since bears the end of the one before: this one reaches further, also within a millisecond.
        const issuedBefore = Math.max(
          revocation.issuedBefore === undefined ? covered + 1 : covered,
          revocation.issuedBefore ?? allSoFar,
        );
        const reachesAhead = revocation.issuedBefore === undefined || before?.reachesAhead === true;
        return { value: { issuedBefore, expiresAt, ...(reachesAhead ? { reachesAhead } : {}) }, expiresAt };
      });
      await collection.refresh(key);
      // A token that is minted after this has returned is not to bear the time of one minted before.
      await after(CLOCK_STEP_MS);
    },
    onChange: (listener) => collection.onChange(listener),
    stop() {
      clearInterval(timer);
      collection.stop();
    },
  };
}
