import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { openAuthority } from "../../../bridge/auth/authority.ts";
import { REFRESH_GRACE_MS, RefreshReusedError } from "../../../bridge/auth/sessions.ts";
import { createTokens } from "../../../bridge/auth/tokens.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { JWT_SECRET } from "../../support/dashboard.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";

const logger = pino({ level: "silent" });

/** Logs alice in, with a clock that only the test changes. */
async function logIn() {
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  const cluster = await openLocalCluster({ path, logger });
  onTestFinished(() => cluster.stop());
  const clock = { now: Date.now() };
  const now = () => clock.now;
  const { accounts, sessions, stop } = await openAuthority({
    ...{ tokens: createTokens({ secrets: [JWT_SECRET], now }), documents: cluster.documents, logger, now },
    config: {
      maxSessionsPerUser: 50,
      accessTokenTtlSeconds: 900,
      refreshTokenTtlSeconds: 604_800,
      tokenTtlSeconds: 86_400,
    },
  });
  onTestFinished(stop);
  const powers = { role: "viewer" } as const;
  const account = await accounts.create({ userId: "alice", password: "a long enough password", powers });
  return { clock, sessions, first: await sessions.open(account) };
}

it("a refresh repeats a lost response within the grace period, and treats a later use of the token as theft", async () => {
  const { clock, sessions, first } = await logIn();
  const lost = await sessions.refresh(first.refreshToken);
  clock.now += REFRESH_GRACE_MS;
  const repeated = await sessions.refresh(first.refreshToken);
  expect(repeated.refreshToken).toBe(lost.refreshToken);
  clock.now += 1;
  await expect(sessions.refresh(first.refreshToken)).rejects.toBeInstanceOf(RefreshReusedError);
  await expect(sessions.refresh(lost.refreshToken)).rejects.toThrow("log in again");
});

it("each refresh starts a new grace period, for the previous token only", async () => {
  const { clock, sessions, first } = await logIn();
  const second = await sessions.refresh(first.refreshToken);
  clock.now += 600_000;
  const third = await sessions.refresh(second.refreshToken);
  expect((await sessions.refresh(second.refreshToken)).refreshToken).toBe(third.refreshToken);
  await expect(sessions.refresh(first.refreshToken)).rejects.toBeInstanceOf(RefreshReusedError);
});
