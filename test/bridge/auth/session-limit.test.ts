import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { openAuthority } from "../../../bridge/auth/authority.ts";
import { createTokens } from "../../../bridge/auth/tokens.ts";
import type { Documents } from "../../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../../bridge/cluster/local/local.ts";
import { JWT_SECRET } from "../../support/dashboard.ts";
import { startRedis } from "../../support/redis.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { redisPlace } from "../cluster/redis-place.ts";

const logger = pino({ level: "silent" });

async function levelDocuments(): Promise<Documents> {
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  const cluster = await openLocalCluster({ path, logger });
  onTestFinished(() => cluster.stop());
  return cluster.documents;
}

async function redisDocuments(): Promise<Documents> {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const place = redisPlace(redis);
  onTestFinished(() => place.dispose());
  return (await place.open()).documents;
}

it.each([
  ["LevelDB", levelDocuments],
  ["Redis", redisDocuments],
])(
  "a login beyond MAX_SESSIONS_PER_USER ends the session that was unused for the longest time, in %s",
  async (_, openDocuments) => {
    const documents = await openDocuments();
    const clock = { now: Date.now() };
    const now = () => clock.now;
    const open = async (maxSessionsPerUser: number) => {
      const authority = await openAuthority({
        ...{ tokens: createTokens({ secrets: [JWT_SECRET], now }), documents, logger, now },
        config: {
          ...{ accessTokenTtlSeconds: 900, refreshTokenTtlSeconds: 604_800, tokenTtlSeconds: 86_400 },
          maxSessionsPerUser,
        },
      });
      onTestFinished(() => authority.stop());
      return authority;
    };
    const { accounts, sessions, verify } = await open(3);
    const add = (userId: string) =>
      accounts.create({ userId, password: "a long enough password", powers: { role: "viewer" } });
    const [alice, bob] = [await add("alice"), await add("bob")];
    const logIn = (account = alice) => {
      clock.now += 1000;
      return sessions.open(account);
    };
    const ofBob = await logIn(bob);
    const [first, second, third] = [await logIn(), await logIn(), await logIn()];
    clock.now += 1000;
    const refreshed = await sessions.refresh(first.refreshToken);
    const fourth = await logIn();
    const idsOf = async (userId: string) => (await sessions.list(userId)).map(({ sessionId }) => sessionId);
    expect(await idsOf("alice")).toEqual([fourth, refreshed, third].map(({ sessionId }) => sessionId));
    await expect(sessions.refresh(second.refreshToken)).rejects.toThrow("log in again");
    expect(() => verify(second.token)).toThrow("The token was revoked");
    expect(verify(refreshed.token).userId).toBe("alice");
    expect(await idsOf("bob")).toEqual([ofBob.sessionId]);

    // Later with a lower limit.
    const lowered = await open(1);
    clock.now += 1000;
    const last = await lowered.sessions.open(alice);
    expect(await idsOf("alice")).toEqual([last.sessionId]);
  },
);
