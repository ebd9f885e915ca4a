import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { TokenIdentity } from "../../platform/identity.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { type Accounts, openAccounts } from "./accounts.ts";
import { type DeviceStore, openDevices } from "./devices.ts";
import { openRevocations, type Revocations } from "./revocations.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { InvalidTokenError, type Tokens } from "./tokens.ts";

class RevokedTokenError extends InvalidTokenError {
  override name = "RevokedTokenError";
}

/**
 * Decides about tokens and devices for HTTP, WebSocket and MQTT. A token from a login has the current permissions of
 * its account. All data is in memory, so checks work while the store is unavailable.
 */
export interface Authority extends Tokens {
  /** @param grant.trial issued without a key: valid only in {@link Authority.trialMode}. Default: false */
  mint(grant: Parameters<Tokens["mint"]>[0] & { trial?: boolean }): ReturnType<Tokens["mint"]>;
  /** @throws {RevokedTokenError} and the errors of {@link Tokens.verify} */
  verify(token: string): TokenIdentity;
  /**
   * Re-checks an identity against current accounts and revocations. Ignores expiry.
   * @returns the same object when nothing has changed, otherwise one with the current permissions
   * @throws {RevokedTokenError}
   */
  review(identity: TokenIdentity): TokenIdentity;
  /** Calls back after any node made a change that affects {@link review}. @returns unsubscribes */
  onChange(listener: () => void): () => void;
  readonly accounts: Accounts;
  readonly revocations: Revocations;
  readonly sessions: Sessions;
  readonly devices: DeviceStore;
  /**
   * Whether tokens may be issued without a key, because there is nothing to protect yet: simulated cameras run, and
   * there are no accounts and no real devices. These tokens become invalid when trial mode ends.
   */
  readonly trialMode: boolean;
  stop(): void;
}

/** The prefix of the ids of tokens that were issued without a key. */
const TRIAL_TOKEN_PREFIX = "first-try-";

interface AuthorityOptions {
  tokens: Tokens;
  documents: Cluster["documents"];
  config: {
    accessTokenTtlSeconds: number;
    refreshTokenTtlSeconds: number;
    /** The longest lifetime of a token that is minted without a login. */
    tokenTtlSeconds: number;
  };
  /** Ids of the running simulated cameras and services. Default: none. */
  simulated?: readonly string[];
  logger: Logger;
  /** Milliseconds since 1970. Default: the system clock. */
  now?: () => number;
  /** The clock by which revocations expire, milliseconds since 1970. Default: `now`. */
  expiryNow?: () => number;
}

/** @throws {StoreUnavailableError} */
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

  const isTrial = () =>
    simulated.length > 0 && accounts.list().length === 0 && devices.list().every(({ id }) => simulated.includes(id));

  function review(identity: TokenIdentity): TokenIdentity {
    if (revocations.covers(identity)) throw new RevokedTokenError("The token was revoked");
    if (identity.tokenId?.startsWith(TRIAL_TOKEN_PREFIX) && !isTrial())
      throw new RevokedTokenError("Trial mode has ended, and this token was issued without a key: log in");
    const { sessionId, userId } = identity;
    if (sessionId === undefined) return identity;
    const account = accounts.get(userId);
    if (account === undefined || !account.enabled || !sessionId.startsWith(`${account.generation}-`))
      throw new RevokedTokenError("The session has ended: log in again");
    const { permissions } = account;
    return equalLists(permissions, identity.permissions) ? identity : { ...identity, permissions };
  }

  return {
    prepare: (token) => tokens.prepare(token),
    verify: (token) => review(tokens.verify(token)),
    mint: ({ trial = false, ...grant }) =>
      tokens.mint({
        ...{ issuedAt: revocations.issueTime(grant.userId), ...grant },
        ...(trial ? { tokenId: `${TRIAL_TOKEN_PREFIX}${randomUUID()}` } : {}),
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
    get trialMode() {
      return isTrial();
    },
    stop,
  };
}

/**
 * Whether `POST /auth/token` accepts requests from this machine without a key. Never behind a proxy: with a wrong proxy
 * setting, requests from other machines look local.
 */
export function isTrialMode(
  { loopback, trustedProxies }: { loopback: boolean; trustedProxies: readonly string[] },
  { trialMode }: Pick<Authority, "trialMode">,
): boolean {
  return loopback && trustedProxies.length === 0 && trialMode;
}

function equalLists(one: readonly string[], other: readonly string[]): boolean {
  return one === other || (one.length === other.length && one.every((text, index) => text === other[index]));
}
