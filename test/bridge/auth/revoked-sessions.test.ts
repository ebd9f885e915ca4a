import jsonwebtoken from "jsonwebtoken";
import { pino } from "pino";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { openAuthority } from "../../../bridge/auth/authority.ts";
import { createTokens } from "../../../bridge/auth/tokens.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { JWT_SECRET } from "../../support/dashboard.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";

const logger = pino({ level: "silent" });
const DAY_S = 86_400;
/** The interval at which expired revocations are removed. */
const EVICTION_INTERVAL_MS = 60_000;

/** Logs alice in with a refresh token that is valid for 90 days, and a clock that only the test changes. */
async function logIn() {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  const cluster = await openLocalCluster({ path, logger });
  onTestFinished(() => cluster.stop());
  const clock = { now: Date.now() };
  const now = () => clock.now;
  const authority = await openAuthority({
    ...{ tokens: createTokens({ secrets: [JWT_SECRET], now }), documents: cluster.documents, logger, now },
    config: {
      maxSessionsPerUser: 50,
      accessTokenTtlSeconds: 900,
      refreshTokenTtlSeconds: 90 * DAY_S,
      tokenTtlSeconds: DAY_S,
    },
  });
  const { accounts, revocations, sessions } = authority;
  onTestFinished(() => authority.stop());
  const powers = { role: "viewer" } as const;
  const login = await sessions.open(
    await accounts.create({ userId: "alice", password: "a long enough password", powers }),
  );
  const pass = (days: number) => {
    clock.now += days * DAY_S * 1000;
    vi.advanceTimersByTime(EVICTION_INTERVAL_MS);
  };
  return { authority, clock, revocations, sessions, login, pass };
}

it("a session stays revoked long after its access tokens have expired", async () => {
  const { sessions, login, pass } = await logIn();
  await sessions.revoke(login.sessionId);
  pass(1);
  await expect(sessions.refresh(login.refreshToken)).rejects.toThrow("log in again");
});

it.each([
  ["a user", { kind: "user", id: "alice" }],
  ["everybody", { kind: "everybody", issuedBefore: Date.now() + 60_000 }],
] as const)("revoking all tokens of %s also revokes the refresh tokens until they expire", async (_, revocation) => {
  const { revocations, sessions, login, pass } = await logIn();
  await revocations.add(revocation);
  pass(89);
  await expect(sessions.refresh(login.refreshToken)).rejects.toThrow("log in again");
});

describe("the revocation of a user's tokens", () => {
  /** Signs a token as an issuer that shares the secret, and whose clock is 50 s ahead. */
  const signAhead = (now: number) => {
    const iat = (now + 50_000) / 1000;
    return jsonwebtoken.sign({ sub: "alice", permissions: ["dashboard:read"], iat, exp: iat + 3600 }, JWT_SECRET);
  };

  it("permanently includes a token of an issuer whose clock is ahead", async () => {
    const { authority, clock } = await logIn();
    const token = signAhead(clock.now);
    expect(authority.verify(token)).toMatchObject({ userId: "alice" });
    await authority.revocations.add({ kind: "user", id: "alice" });
    for (const laterMs of [0, 40_000, 61_000, 600_000]) {
      clock.now += laterMs;
      expect(() => authority.verify(token)).toThrow("The token was revoked");
    }
  });

  it("does not affect tokens and logins after the revocation", async () => {
    const { authority } = await logIn();
    await authority.revocations.add({ kind: "user", id: "alice" });
    const { token } = authority.mint({ userId: "alice", permissions: [], ttlSeconds: 30 });
    expect(authority.verify(token)).toMatchObject({ userId: "alice" });
    const account = authority.accounts.get("alice");
    if (account === undefined) throw new Error("there is no account");
    const login = await authority.sessions.open(account);
    expect(authority.verify(login.token)).toMatchObject({ userId: "alice" });
    const next = await authority.sessions.refresh(login.refreshToken);
    await authority.revocations.add({ kind: "user", id: "alice" });
    for (const revoked of [token, login.token, next.token])
      expect(() => authority.verify(revoked)).toThrow("The token was revoked");
  });
});
