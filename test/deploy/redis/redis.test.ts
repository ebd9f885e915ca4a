import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { COMMAND_TIMEOUT_MS, openRedis, type RedisAccess } from "../../../deploy/redis/redis.ts";
import { checkRedis, MIN_REDIS_VERSION } from "../../../deploy/redis/redis-check.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { startSentinel } from "../../support/redis-sentinel.ts";
import { startRunningClock } from "../../support/running-clock.ts";

let lines: string[];
let cleanUp: (() => Promise<unknown>)[];

beforeEach(() => {
  lines = [];
  cleanUp = [];
});
afterEach(async () => {
  for (const clean of cleanUp.reverse()) await clean();
});

function open(url: string, prefix = "skylapse"): RedisAccess {
  const logger = pino({ level: "info" }, { write: (line: string) => lines.push(line) });
  const redis = openRedis({ url, prefix, logger });
  cleanUp.push(() => redis.close());
  return redis;
}

async function serve(args?: readonly string[]): Promise<RedisServer> {
  const server = await startRedis(args === undefined ? {} : { args });
  cleanUp.push(() => server.remove());
  return server;
}

function check(redis: RedisAccess, timeoutMs?: number): Promise<void> {
  const logger = pino({ level: "info" }, { write: (line: string) => lines.push(line) });
  return checkRedis({ redis, logger, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
}

describe("the prefix", () => {
  test("has a hash tag, so that all keys are in one slot of a cluster", () => {
    expect(open("redis://127.0.0.1:1").prefix).toBe("{skylapse}:");
    expect(open("redis://127.0.0.1:1", "prod:skylapse:").prefix).toBe("{prod:skylapse}:");
  });

  test.each(["", "a b", "{a}", "x".repeat(65)])("is refused when it is %j", (prefix) => {
    expect(() => open("redis://127.0.0.1:1", prefix)).toThrow(RangeError);
  });
});

describe("a connection", () => {
  test("has the database of the URL and the given name", async () => {
    const server = await serve();
    const connection = open(`${server.url}/5`).connect("test");
    expect(String(await connection.client("INFO"))).toMatch(/ name=skylapse-test .* db=5 /);
  });

  test("reconnects by itself, and logs once that Redis is unavailable and once that it is available again", async () => {
    const server = await serve();
    const connection = open(server.url).connect("test");
    await connection.set("a", "1");
    await server.stop("SIGKILL");
    await expect(connection.get("a")).rejects.toThrow();
    await server.start();
    await expect.poll(() => connection.get("a").catch(() => undefined)).toBe("1");
    expect(lines.filter((line) => line.includes("redis cannot be reached")).length).toBe(1);
    expect(lines.filter((line) => line.includes("redis can be reached again")).length).toBe(1);
  });

  test("rejects commands at once while Redis is unavailable, if its options forbid waiting", async () => {
    const server = await serve();
    const failAtOnce = { enableOfflineQueue: false, maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false };
    const connection = open(server.url).connect("test", failAtOnce);
    await once(connection, "ready");
    server.process.kill("SIGSTOP");
    const waiting = expect(connection.get("a")).rejects.toThrow();
    const elapsedMs = startRunningClock();
    await server.stop("SIGKILL");
    await waiting;
    await expect(connection.get("a")).rejects.toThrow();
    expect(elapsedMs()).toBeLessThan(COMMAND_TIMEOUT_MS);
  });

  test("rejects a command that a hanging Redis does not answer", async () => {
    const server = await serve();
    const connection = open(server.url).connect("test", { commandTimeout: 200 });
    // Polls the status instead of a command, because a command may time out on a busy machine.
    await expect.poll(() => connection.status).toBe("ready");
    server.process.kill("SIGSTOP");
    await expect(connection.ping()).rejects.toThrow(/timed out/);
    server.process.kill("SIGCONT");
    await expect.poll(() => connection.ping().catch(() => undefined)).toBe("PONG");
  });

  test("that never succeeds neither ends the process nor floods the log", async () => {
    const connection = open("redis://127.0.0.1:1").connect("test");
    await expect(connection.ping()).rejects.toThrow();
    expect(lines.length).toBe(1);
  });

  test("is closed in bounded time even if Redis hangs, and a connection that is opened after close() ends as well", async () => {
    const server = await serve();
    const redis = open(server.url);
    const connection = redis.connect("test");
    await connection.ping();
    server.process.kill("SIGSTOP");
    const elapsedMs = startRunningClock();
    await Promise.all([redis.close(), redis.close()]);
    expect(elapsedMs()).toBeLessThan(COMMAND_TIMEOUT_MS);
    const late = redis.connect("late");
    await expect.poll(() => late.status).toBe("end");
  });

  test("follows the master that Sentinels name", async () => {
    const server = await serve();
    const sentinel = await startSentinel(server.port);
    cleanUp.push(() => sentinel.stop());
    const connection = open(sentinel.url).connect("test");
    await connection.set("a", "1");
    expect(await open(server.url).connect("test").get("a")).toBe("1");
  });
});

describe("the check at the start", () => {
  test("finds no problem with a durable Redis", async () => {
    await check(open((await serve()).url));
    expect(lines).toEqual([]);
  });

  test("warns of eviction and of a missing append-only file, and names the setting to change", async () => {
    const server = await serve(["--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]);
    await check(open(server.url));
    expect(lines.length).toBe(2);
    expect(lines[0]).toMatch(/allkeys-lru.*set maxmemory-policy noeviction/);
    expect(lines[1]).toMatch(/set appendonly yes/);
  });

  test("waits for a Redis that is starting", async () => {
    const server = await serve();
    await server.stop();
    const checking = check(open(server.url));
    await server.start();
    await checking;
  });

  test("names the variable REDIS_URL if nothing answers", async () => {
    await expect(check(open("redis://127.0.0.1:1"), 2_000)).rejects.toMatchObject({
      name: "RedisUnusableError",
      message: expect.stringMatching(/^REDIS_URL: .*ECONNREFUSED/),
    });
  });

  test("refuses a wrong password without waiting", async () => {
    const server = await serve();
    await open(server.url).connect("test").config("SET", "requirepass", "right");
    const elapsedMs = startRunningClock();
    await expect(check(open(server.url.replace("redis://", "redis://:wrong@")))).rejects.toThrow(
      /^REDIS_URL: .*(WRONGPASS|NOAUTH)/,
    );
    expect(elapsedMs()).toBeLessThan(10_000);
    expect(lines.join()).not.toContain("wrong");
  });

  test("refuses a Redis that is too old", async () => {
    const old = await startOldRedis();
    cleanUp.push(old.stop);
    await expect(check(open(`redis://127.0.0.1:${old.port}`))).rejects.toThrow(
      new RegExp(`^REDIS_URL: Redis 6.0.16 is too old: upgrade it to ${MIN_REDIS_VERSION}`),
    );
  });
});

/** Starts a server that answers INFO like Redis 6.0, because the tests install no such old Redis. */
async function startOldRedis(): Promise<{ port: number; stop: () => Promise<unknown> }> {
  const sockets = new Set<Socket>();
  const info = "redis_version:6.0.16\r\nloading:0\r\n";
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      for (const command of String(data).split("*").slice(1))
        socket.write(/info/i.test(command) && !/lib/i.test(command) ? `$${info.length}\r\n${info}\r\n` : "+OK\r\n");
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      return once(server, "close");
    },
  };
}
