import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { type Accounts, openAccounts } from "./accounts.ts";
import { type DeviceStore, openDevices } from "./devices.ts";
import { openRevocations, type Revocations } from "./revocations.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { InvalidTokenError, type Tokens } from "./tokens.ts";

/** The token was good until it, its login, or all of its user's were ended. */
export class RevokedTokenError extends InvalidTokenError {
  override name = "RevokedTokenError";
}

/**
 * Who may come in, at every door: a token is as good as its signature, unless it has been revoked; and one of an account
 * is worth what the account is worth now. All of it is in memory, so it holds while the store is away.
 */
export interface Authority extends Tokens {
  /** @param grant.firstTry it is given without a key, and ends with {@link Authority.firstTry}. Default: false */
  mint(grant: Parameters<Tokens["mint"]>[0] & { firstTry?: boolean }): ReturnType<Tokens["mint"]>;
  /** @throws {RevokedTokenError} besides what {@link Tokens.verify} throws */
  verify(token: string): TokenIdentity;
  /**
   * Looks again at whom a token once let in. When it ends is not looked at.
   * @returns the same object while nothing has changed, else one with the permissions of now
   * @throws {RevokedTokenError}
   */
  review(identity: TokenIdentity): TokenIdentity;
  /** After each change of what {@link review} says, on whichever node it was made. @returns ends it */
  onChange(listener: () => void): () => void;
  readonly accounts: Accounts;
  readonly revocations: Revocations;
  readonly sessions: Sessions;
  readonly devices: DeviceStore;
  /**
   * True while simulated cameras run and nobody has made an account or added a device: tokens may be given without a key,
   * because nothing here is worth guarding yet. Those tokens end with it.
   */
  readonly firstTry: boolean;
  stop(): void;
}

/** Begins the id of a token that was given without a key. */
const FIRST_TRY_TOKEN = "first-try-";

export interface AuthorityOptions {
  tokens: Tokens;
  documents: Cluster["documents"];
  config: {
    accessTokenTtlSeconds: number;
    refreshTokenTtlSeconds: number;
    /** The longest life of a token that is minted without an account. */
    tokenTtlSeconds: number;
  };
  /** Ids of the simulated cameras and services, while they run. Default: none run. */
  simulated?: readonly string[];
  logger: Logger;
  /** Milliseconds since 1970. Default: the clock. */
  now?: () => number;
  /** The clock by which revocations are forgotten, milliseconds since 1970. Default: `now`. */
  expiryNow?: () => number;
}

/** @throws {StoreUnavailableError} accounts, revocations or devices cannot be read */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { tokens, documents, config, simulated = [], logger, now = Date.now, expiryNow = now } = options;
  const opened: { stop(): void }[] = [];
  const stop = () => {
    for (const part of opened.splice(0)) part.stop();
  };
  const open = async <Part extends { stop(): void }>(opening: Promise<Part>): Promise<Part> => {
    const part = await opening.catch((error: unknown) => {
      stop();
      throw error;
    });
    opened.push(part);
    return part;
  };
  const accounts = await open(openAccounts({ documents, logger, now }));
  const devices = await open(openDevices({ documents, logger, now }));
  const revocations = await open(
    openRevocations({
      ...{ documents, logger, now, expiryNow },
      sessionTokenMs: config.accessTokenTtlSeconds * 1000,
      refreshTokenMs: config.refreshTokenTtlSeconds * 1000,
      mintedTokenMs: config.tokenTtlSeconds * 1000,
    }),
  );

  const isFirstTry = () =>
    simulated.length > 0 && accounts.list().length === 0 && devices.list().every(({ id }) => simulated.includes(id));

  function review(identity: TokenIdentity): TokenIdentity {
    if (revocations.covers(identity)) throw new RevokedTokenError("The token was revoked");
    if (identity.tokenId?.startsWith(FIRST_TRY_TOKEN) && !isFirstTry())
      throw new RevokedTokenError("The first try is over: this token was given without a key, log in instead");
    const { sessionId, userId } = identity;
    if (sessionId === undefined) return identity;
    const account = accounts.get(userId);
    if (account === undefined || !account.enabled || !sessionId.startsWith(`${account.generation}-`))
      throw new RevokedTokenError("The session has ended: log in again");
    const { permissions } = account;
    return sameList(permissions, identity.permissions) ? identity : { ...identity, permissions };
  }

  return {
    prepare: (token) => tokens.prepare(token),
    verify: (token) => review(tokens.verify(token)),
    mint: ({ firstTry = false, ...grant }) =>
      tokens.mint({
        ...{ issuedAt: revocations.issueTime(grant.userId), ...grant },
        ...(firstTry ? { tokenId: `${FIRST_TRY_TOKEN}${randomUUID()}` } : {}),
      }),
    review,
    onChange(listener) {
      const ends = [accounts.onChange(listener), revocations.onChange(listener)];
      if (simulated.length > 0) ends.push(devices.onAdd(listener));
      return () => {
        for (const end of ends) end();
      };
    },
    accounts,
    revocations,
    sessions: createSessions({ documents, accounts, revocations, tokens, config, now }),
    devices,
    get firstTry() {
      return isFirstTry();
    },
    stop,
  };
}

function sameList(one: readonly string[], other: readonly string[]): boolean {
  return one === other || (one.length === other.length && one.every((text, index) => text === other[index]));
}
