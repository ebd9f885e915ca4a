import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { openRedisPreviews } from "../../../bridge/previews/previews.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import { smallJpeg } from "../../support/jpeg.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { captureAt, NOON, previewsSuite } from "./previews-suite.ts";

const logger = pino({ level: "silent" });
let server: RedisServer;
let prefixes = 0;

beforeAll(async () => {
  server = await startRedis();
});

afterAll(() => server.remove());

function access(): RedisConnections {
  return openRedis({ url: server.url, prefix: `test${++prefixes}`, logger });
}

describe("previews in Redis", () => {
  previewsSuite(async () => {
    const redis = access();
    return {
      open: async (options) => openRedisPreviews({ redis, ...options }),
      remove: () => redis.close(),
    };
  });

  it("are readable on every node, whichever node saved them", async () => {
    const redis = access();
    const [one, other] = [openRedisPreviews({ redis }), openRedisPreviews({ redis })];
    await one.save("north", "c1", smallJpeg("one"));
    expect((await other.read("north"))?.jpeg).toEqual(smallJpeg("one"));
    // A camera that changed nodes sent the preview to both nodes: the preview is kept once.
    await other.save("north", "c1", smallJpeg("one"));
    expect((await one.list("north", { after: undefined, limit: 10 })).total).toBe(1);
    await Promise.all([one.close(), other.close()]);
    await redis.close();
  });

  it("expire while no node runs, except the newest, and the sums stay correct", async () => {
    const redis = access();
    let now = NOON;
    const previews = openRedisPreviews({ redis, now: () => now, keepMs: 1000 });
    for (let n = 0; n < 5; n++) await previews.save("north", captureAt(NOON + n), smallJpeg(`${n}`));
    const client = new Redis(server.url);
    onTestFinished(() => client.disconnect());
    const keys = (await client.keys(`${redis.prefix}preview:*`)).map((key) =>
      key.slice(`${redis.prefix}preview:`.length),
    );
    const expiring = keys.filter((key) => /^(list|meta|jpeg):/.test(key));
    expect(expiring).toHaveLength(7);
    for (const key of expiring) expect(await client.pttl(`${redis.prefix}preview:${key}`)).toBeGreaterThan(0);
    now += 10_000;
    await previews.save("north", captureAt(now), smallJpeg("last"));
    expect(await client.zcard(`${redis.prefix}preview:all`)).toBe(1);
    expect(await client.get(`${redis.prefix}preview:bytes`)).toBe(String(smallJpeg("last").length));
    expect(await client.hgetall(`${redis.prefix}preview:camera-bytes`)).toEqual({
      north: String(smallJpeg("last").length),
    });
    await previews.close();
    await redis.close();
  });

  it("cannot be saved or read while Redis is unavailable, but can afterwards", async () => {
    const redis = access();
    const previews = openRedisPreviews({ redis });
    await previews.save("north", "c1", smallJpeg("one"));
    await server.stop("SIGKILL");
    await expect(previews.save("north", "c2", smallJpeg("two"))).rejects.toThrow(StoreUnavailableError);
    await expect(previews.read("north")).rejects.toThrow(StoreUnavailableError);
    await server.start();
    await expect
      .poll(() =>
        previews.save("north", "c2", smallJpeg("two")).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    expect((await previews.read("north"))?.jpeg).toEqual(smallJpeg("two"));
    await previews.close();
    await redis.close();
  });
});
