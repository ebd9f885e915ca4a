import { pino } from "pino";
import { expect, it, onTestFinished, vi } from "vitest";
import { openAuthority } from "../../bridge/accounts/authority.ts";
import { openLocalCluster } from "../../bridge/cluster/local.ts";
import { createTokens } from "../../bridge/tokens.ts";
import { JWT_SECRET } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath } from "../support/skylapse.ts";

const logger = pino({ level: "silent" });
const DAY_S = 86_400;
/** How often revocations that are over are forgotten. */
const FORGET_MS = 60_000;

/** A login of alice's whose refresh token lives for 90 days, and a clock that only the test moves. */
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
  const { accounts, revocations, sessions, stop } = await openAuthority({
    ...{ tokens: createTokens({ secrets: [JWT_SECRET], now }), documents: cluster.documents, logger, now },
    config: { accessTokenTtlSeconds: 900, refreshTokenTtlSeconds: 90 * DAY_S, tokenTtlSeconds: DAY_S },
  });
  onTestFinished(stop);
  const powers = { role: "viewer" } as const;
  const login = await sessions.open(
    await accounts.create({ userId: "alice", password: "a long enough password", powers }),
  );
  const pass = (days: number) => {
    clock.now += days * DAY_S * 1000;
    vi.advanceTimersByTime(FORGET_MS);
  };
  return { revocations, sessions, login, pass };
}

it("a session that was revoked by its id stays so when its access tokens are long over", async () => {
  const { sessions, login, pass } = await logIn();
  await sessions.revoke(login.sessionId);
  pass(1);
  await expect(sessions.refresh(login.refreshToken)).rejects.toThrow("log in again");
});

it.each([
  ["a user", { kind: "user", id: "alice" }],
  ["everybody", { kind: "everybody", issuedBefore: Date.now() + 60_000 }],
] as const)(
  "what %s was logged in to when tokens were revoked is over for as long as a refresh token may wait",
  async (_, what) => {
    const { revocations, sessions, login, pass } = await logIn();
    await revocations.add(what);
    pass(89);
    await expect(sessions.refresh(login.refreshToken)).rejects.toThrow("log in again");
  },
);
