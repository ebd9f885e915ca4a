import { pino } from "pino";
import { expect, onTestFinished, test } from "vitest";
import { openAuthority } from "../../../bridge/auth/authority.ts";
import { createTokens } from "../../../bridge/auth/tokens.ts";
import { openRedisCluster } from "../../../bridge/cluster/redis/redis.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startRedis } from "../../support/redis.ts";

const SECRET = "a-secret-of-more-than-thirty-two-characters";
const MINUTES = 60_000;
const logger = pino({ level: "silent" });

/** A node whose machine's clock is wrong. */
async function openNode(url: string, errorMs: number) {
  const redis = openRedis({ url, prefix: "clocks", logger });
  const cluster = await openRedisCluster({ redis, logger, wall: () => Date.now() + errorMs });
  const config = {
    maxSessionsPerUser: 50,
    accessTokenTtlSeconds: 900,
    refreshTokenTtlSeconds: 3_600,
    tokenTtlSeconds: 86_400,
  };
  const tokens = createTokens({ secrets: [SECRET], now: () => cluster.now() });
  const authority = await openAuthority({ tokens, documents: cluster.documents, config, logger });
  onTestFinished(async () => {
    authority.stop();
    await cluster.stop();
    await redis.close();
  });
  return authority;
}

test("tokens and revocations of nodes whose clocks are five minutes apart are judged by one time", async () => {
  const server = await startRedis();
  onTestFinished(() => server.remove());
  const [ahead, behind] = [await openNode(server.url, 5 * MINUTES), await openNode(server.url, -5 * MINUTES)];
  const permissions = ["dashboard:read"];

  for (const [one, other] of [[ahead, behind] as const, [behind, ahead] as const]) {
    const brief = one.mint({ userId: "alice", permissions, ttlSeconds: 60 });
    expect(other.verify(brief.token).userId).toBe("alice");
    expect(Math.abs(brief.expiresAt - Date.now() - MINUTES)).toBeLessThan(5_000);

    const before = other.mint({ userId: "bob", permissions, ttlSeconds: 600 });
    await one.revocations.add({ kind: "user", id: "bob" });
    await expect.poll(() => refused(() => other.verify(before.token))).toBe(true);
    const after = other.mint({ userId: "bob", permissions, ttlSeconds: 600 });
    expect(one.verify(after.token).userId).toBe("bob");
    expect(other.verify(after.token).userId).toBe("bob");
  }
});

function refused(verify: () => unknown): boolean {
  try {
    verify();
    return false;
  } catch {
    return true;
  }
}
