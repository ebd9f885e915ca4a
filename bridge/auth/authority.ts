import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { INTEGRATION_SECRET_PREFIX, type TokenIdentity } from "../../platform/identity.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { type Account, type Accounts, openAccounts } from "./accounts.ts";
import { type CameraGroups, openCameraGroups } from "./camera-groups.ts";
import { type DeviceStore, openDevices } from "./devices.ts";
import { type Integrations, isOfIntegration, openIntegrations } from "./integrations.ts";
import { openRevocations, type Revocations } from "./revocations.ts";
import { createSessions, type Sessions } from "./sessions.ts";
import { createSetupCode, type SetupCode } from "./setup-code.ts";
import { claimedSession, InvalidTokenError, isProvided, type Tokens } from "./tokens.ts";

class RevokedTokenError extends InvalidTokenError {
  override name = "RevokedTokenError";
}

/**
 * Decides about tokens, integrations and devices for HTTP, WebSocket and MQTT. A token from a login has the current
 * permissions of its account. The secret of an integration is accepted wherever a token is. All data is in memory, so checks work while the store is unavailable.
 */
export interface Authority extends Tokens {
  /** @param grant.trial issued without a key: valid only in {@link Authority.trialMode}. Default: false */
  mint(grant: Parameters<Tokens["mint"]>[0] & { trial?: boolean }): ReturnType<Tokens["mint"]>;
  /** @throws {RevokedTokenError} and the errors of {@link Tokens.verify} */
  verify(token: string): TokenIdentity;
  /**
   * Re-checks an identity against current accounts and revocations. Ignores expiry.
   * @returns the same object when nothing has changed, otherwise one with the current permissions and expiry
   * @throws {RevokedTokenError}
   */
  review(identity: TokenIdentity): TokenIdentity;
  /** Calls back after any node made a change that affects {@link review}. @returns unsubscribes */
  onChange(listener: () => void): () => void;
  readonly accounts: Accounts;
  readonly cameraGroups: CameraGroups;
  readonly revocations: Revocations;
  readonly sessions: Sessions;
  readonly devices: DeviceStore;
  readonly integrations: Integrations;
  readonly setupCode: SetupCode;
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
    /** A login beyond it ends the session that was not used for the longest time. */
    maxSessionsPerUser: number;
  };
  /** Ids of the running simulated cameras and services. Default: none. */
  simulated?: readonly string[];
  logger: Logger;
  /** Milliseconds since 1970. Default: the clock of `tokens`. */
  now?: () => number;
  /** The clock by which revocations expire, milliseconds since 1970. Default: `now`. */
  expiryNow?: () => number;
}

/** @throws {StoreUnavailableError} */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const { tokens, documents, config, simulated = [], logger, now = tokens.now, expiryNow = now } = options;
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
  const cameraGroups = await open(openCameraGroups({ documents, logger }));
  const accounts = await open(openAccounts({ documents, groups: cameraGroups, logger, now }));
  const devices = await open(openDevices({ documents, logger, now }));
  const revocations = await open(
    openRevocations({
      ...{ documents, logger, now, expiryNow },
      sessionTokenMs: config.accessTokenTtlSeconds * 1000,
      refreshTokenMs: config.refreshTokenTtlSeconds * 1000,
      mintedTokenMs: config.tokenTtlSeconds * 1000,
    }),
  );

  const issueTime = (userId: string) => revocations.issueTime(userId);
  const integrations = await open(openIntegrations({ documents, logger, now, issueTime }));

  const isTrial = () =>
    simulated.length > 0 && accounts.list().length === 0 && devices.list().every(({ id }) => simulated.includes(id));

  function review(identity: TokenIdentity): TokenIdentity {
    if (revocations.covers(identity)) throw new RevokedTokenError("The token was revoked");
    if (identity.tokenId?.startsWith(TRIAL_TOKEN_PREFIX) && !isTrial())
      throw new RevokedTokenError("Trial mode has ended, and this token was issued without a key: log in");
    const { sessionId, userId } = identity;
    if (isOfIntegration(identity.tokenId)) {
      const current = integrations.current(identity);
      if (current === undefined) throw new RevokedTokenError("The secret was replaced or revoked");
      return withCurrent(identity, current);
    }
    const account = accounts.get(userId);
    if (sessionId === undefined) {
      if (isProvided(userId) && account !== undefined) checkProvided(account);
      return identity;
    }
    if (account === undefined || !isCurrent(account, sessionId))
      throw new RevokedTokenError("The session has ended: log in again");
    return withCurrent(identity, { permissions: account.permissions, expiresAt: identity.expiresAt });
  }

  const isCurrent = (account: Account | undefined, sessionId: string) =>
    account?.enabled === true && sessionId.startsWith(`${account.generation}-`);

  /**
   * Reads the account of a session that is unknown here. A user who has logged in at another node may be faster than the
   * notice of the new account or password, and would be told to log in again.
   */
  function learn(token: string): Promise<void> | undefined {
    const claimed = claimedSession(token);
    if (claimed === undefined || isCurrent(accounts.get(claimed.userId), claimed.sessionId)) return undefined;
    try {
      tokens.verify(token);
    } catch {
      // Strangers must not make this node read.
      return undefined;
    }
    // If the store is unavailable, the account in memory decides.
    return accounts.refresh(claimed.userId).catch(() => undefined);
  }

  function identityOf(token: string): TokenIdentity {
    if (!token.startsWith(INTEGRATION_SECRET_PREFIX)) return tokens.verify(token);
    const identity = integrations.verify(token);
    if (identity === undefined) throw new InvalidTokenError("The secret belongs to no integration, or has expired");
    return identity;
  }

  return {
    now,
    prepare: (token) =>
      token.startsWith(INTEGRATION_SECRET_PREFIX) ? undefined : (tokens.prepare(token) ?? learn(token)),
    verify: (token) => review(identityOf(token)),
    mint: ({ trial = false, ...grant }) =>
      tokens.mint({
        ...{ issuedAt: revocations.issueTime(grant.userId), ...grant },
        ...(trial ? { tokenId: `${TRIAL_TOKEN_PREFIX}${randomUUID()}` } : {}),
      }),
    review,
    onChange(listener) {
      const ends = [accounts, cameraGroups, revocations, integrations].map((store) => store.onChange(listener));
      if (simulated.length > 0) ends.push(devices.onAdd(listener));
      return () => {
        for (const end of ends) end();
      };
    },
    accounts,
    cameraGroups,
    revocations,
    sessions: createSessions({ documents, accounts, revocations, tokens, config, now }),
    devices,
    integrations,
    setupCode: createSetupCode({ documents, accounts, now }),
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

/** What an admin decided here about a user of the identity provider, whose token does not say it. @throws {RevokedTokenError} */
function checkProvided({ enabled, cameraGroups }: Account): void {
  if (!enabled) throw new RevokedTokenError("The user is disabled");
  if (cameraGroups !== undefined)
    throw new RevokedTokenError(
      "The user is limited to groups of cameras, which a token of the identity provider does not name: sign in to the page",
    );
}

type Current = Pick<TokenIdentity, "permissions" | "expiresAt">;

function withCurrent(identity: TokenIdentity, { permissions, expiresAt }: Current): TokenIdentity {
  const isSame = expiresAt === identity.expiresAt && equalLists(permissions, identity.permissions);
  return isSame ? identity : { ...identity, permissions, expiresAt };
}

function equalLists(one: readonly string[], other: readonly string[]): boolean {
  return one === other || (one.length === other.length && one.every((text, index) => text === other[index]));
}
