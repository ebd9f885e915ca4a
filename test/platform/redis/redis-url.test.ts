import { describe, expect, test } from "vitest";
import { describePlace, parseRedisUrl, RedisUrlError } from "../../../platform/redis/redis-url.ts";

const nobody = { username: undefined, password: undefined, tls: false };

describe("REDIS_URL names", () => {
  test.each([
    ["redis://localhost", { kind: "single", ...nobody, host: "localhost", port: 6379, db: 0 }],
    ["redis://localhost:6380/3", { kind: "single", ...nobody, host: "localhost", port: 6380, db: 3 }],
    ["redis://[::1]:6380?db=2", { kind: "single", ...nobody, host: "::1", port: 6380, db: 2 }],
    [
      "rediss://user:p%40ss:word@redis.example/0",
      { kind: "single", username: "user", password: "p@ss:word", tls: true, host: "redis.example", port: 6379, db: 0 },
    ],
    ["redis://:secret@redis:6379", { kind: "single", ...nobody, password: "secret", host: "redis", port: 6379, db: 0 }],
  ])("a single Redis: %s", (url, place) => {
    expect(parseRedisUrl(url)).toEqual(place);
  });

  test("Sentinels and their master", () => {
    expect(parseRedisUrl("redis+sentinel://u:p@h1:1, h2/mymaster?db=4&sentinel_password=s")).toEqual({
      kind: "sentinel",
      username: "u",
      password: "p",
      tls: false,
      sentinels: [
        { host: "h1", port: 1 },
        { host: "h2", port: 26_379 },
      ],
      sentinelPassword: "s",
      masterName: "mymaster",
      db: 4,
    });
  });

  test("the nodes of a cluster", () => {
    expect(parseRedisUrl("rediss+cluster://h1:7000,h2:7001")).toEqual({
      kind: "cluster",
      ...nobody,
      tls: true,
      nodes: [
        { host: "h1", port: 7000 },
        { host: "h2", port: 7001 },
      ],
    });
  });
});

describe("REDIS_URL is refused, by name and without its password, if it", () => {
  test.each([
    ["is not a URL of Redis", "http://:secret@localhost", /redis:\/\/host/],
    ["is a bare host", "localhost:6379", /redis:\/\/host/],
    ["has several hosts without their kind", "redis://:secret@a,b", /redis\+sentinel.*redis\+cluster/],
    ["has no host", "redis://:secret@", /not a host/],
    ["has an invalid port", "redis://:secret@localhost:70000", /70000 is not a port/],
    ["has no master", "redis+sentinel://:secret@localhost:26379", /mymaster/],
    ["has a database for a cluster", "redis+cluster://:secret@localhost/1", /only 0/],
    ["has an invalid database", "redis://:secret@localhost/one", /number of a database/],
    ["has an unknown option", "redis://:secret@localhost?timeout=1", /"timeout" is unknown/],
    ["has a bad escape", "redis://:secret%@localhost", /%25/],
  ])("%s", (_, url, message) => {
    expect(() => parseRedisUrl(url)).toThrow(RedisUrlError);
    expect(() => parseRedisUrl(url)).toThrow(message);
    expect(() => parseRedisUrl(url)).toThrow(/^REDIS_URL/);
    expect(() => parseRedisUrl(url)).not.toThrow(/secret/);
  });
});

test("the readable address of Redis contains no password", () => {
  const urls = ["redis://:secret@a:1/2", "redis+sentinel://:secret@a:1,b:2/m", "redis+cluster://:secret@a:1,b:2"];
  expect(urls.map((url) => describePlace(parseRedisUrl(url)))).toEqual([
    "a:1",
    "the master m of the Sentinels a:1, b:2",
    "the cluster of a:1, b:2",
  ]);
});
