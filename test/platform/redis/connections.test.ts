import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { COMMAND_TIMEOUT_MS, openRedis, type RedisConnections } from "../../../platform/redis/connections.ts";
import { checkRedis, inspectRedis, MIN_REDIS_VERSION } from "../../../platform/redis/redis-check.ts";
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

const logger = pino({ level: "info" }, { write: (line: string) => lines.push(line) });

function open(
  url: string,
  prefix = "skylapse",
  commandTimeoutMs = COMMAND_TIMEOUT_MS,
  waitReplicas = 0,
): RedisConnections {
  const redis = openRedis({ url, prefix, commandTimeoutMs, waitReplicas, logger });
  cleanUp.push(() => redis.close());
  return redis;
}

async function serve(args?: readonly string[]): Promise<RedisServer> {
  const server = await startRedis(args === undefined ? {} : { args });
  cleanUp.push(() => server.remove());
  return server;
}

/** A master and its replica, which has all data. */
async function serveReplicated(): Promise<[master: RedisServer, replica: RedisServer]> {
  const master = await serve();
  const replica = await serve(["--replicaof", "127.0.0.1", String(master.port)]);
  return [master, replica];
}

async function infoOf({ url }: RedisServer): Promise<string> {
  const admin = new Redis(url);
  return await admin.info("replication").finally(() => admin.disconnect());
}

async function demandReplica({ url }: RedisServer): Promise<void> {
  const admin = new Redis(url);
  await admin.config("SET", "min-replicas-to-write", "1").finally(() => admin.disconnect());
}

function check(redis: RedisConnections, timeoutMs?: number): Promise<void> {
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
  test("has the database of the URL and its name", async () => {
    const server = await serve();
    const { commands } = open(`${server.url}/5`);
    await commands.ready(5_000);
    expect(String(await commands.do((redis) => redis.client("INFO")))).toMatch(/ name=skylapse-commands .* db=5 /);
  });

  test("reconnects by itself, and logs once that Redis is unavailable and once that it is available again", async () => {
    const server = await serve();
    const { commands } = open(server.url);
    await commands.ready(5_000);
    await commands.do((redis) => redis.set("a", "1"));
    await server.stop("SIGKILL");
    await expect(commands.do((redis) => redis.get("a"))).rejects.toThrow(StoreUnavailableError);
    await server.start();
    await expect.poll(() => commands.do((redis) => redis.get("a")).catch(() => undefined)).toBe("1");
    await expect.poll(() => lines.filter((line) => line.includes("redis available again")).length).toBe(1);
    expect(lines.filter((line) => line.includes("redis unavailable")).length).toBe(1);
  });

  test("rejects all commands as soon as the connection is lost, with the reason", async () => {
    const server = await serve();
    const { commands } = open(server.url);
    await commands.ready(5_000);
    server.process.kill("SIGSTOP");
    const waiting = expect(commands.do((redis) => redis.get("a"))).rejects.toThrow("Redis cannot be reached");
    const elapsedMs = startRunningClock();
    await server.stop("SIGKILL");
    await waiting;
    await expect(commands.do((redis) => redis.get("a"))).rejects.toThrow("Redis cannot be reached");
    expect(elapsedMs()).toBeLessThan(COMMAND_TIMEOUT_MS);
  });

  test("is replaced when Redis does not answer, even if nobody sends a command", async () => {
    const server = await serve();
    const redis = open(server.url, "skylapse", 300);
    await redis.commands.ready(5_000);
    server.process.kill("SIGSTOP");
    await expect.poll(() => redis.unavailableReason).toMatch(/^Redis does not answer/);
    server.process.kill("SIGCONT");
    await expect.poll(() => redis.unavailableReason).toBeUndefined();
    expect(await redis.commands.do((client) => client.ping())).toBe("PONG");
  });

  test("that never succeeds neither ends the process nor floods the log", async () => {
    const { commands } = open("redis://127.0.0.1:1");
    await expect(commands.ready(500)).rejects.toThrow("Redis cannot be reached");
    expect(lines.length).toBe(1);
  });

  test("is closed in bounded time even if Redis hangs, and is not opened afterwards", async () => {
    const server = await serve();
    const redis = open(server.url);
    await redis.commands.ready(5_000);
    server.process.kill("SIGSTOP");
    const elapsedMs = startRunningClock();
    await Promise.all([redis.close(), redis.close()]);
    expect(elapsedMs()).toBeLessThan(COMMAND_TIMEOUT_MS);
    await expect(redis.commands.do((client) => client.ping())).rejects.toThrow("the program is stopping");
    await expect(redis.bulk.ready(5_000)).rejects.toThrow("the program is stopping");
  });

  test("names a Redis that loads its data, and waits for it however long that takes", async () => {
    const server = await serve();
    const redis = open(server.url);
    await redis.commands.ready(5_000);
    const names = Array.from({ length: 200 }, (_, index) => `key${index}`);
    await redis.commands.do((client) => client.mset(...names.flatMap((name) => [name, "x"])));
    await redis.commands.do((client) => client.bgrewriteaof());
    await expect.poll(async () => (await redis.info()).facts.get("aof_rewrite_in_progress")).toBe("0");
    await server.stop("SIGKILL");
    // Each key takes 5 ms.
    const starting = server.start(["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]);
    await expect.poll(() => redis.unavailableReason).toMatch(/^Redis is loading its data from the disk/);
    await expect(inspectRedis({ redis, waitsForLoading: false })).rejects.toThrow(/LOADING/);
    await checkRedis({ redis, timeoutMs: 1, logger });
    await starting;
    expect(await redis.commands.do((client) => client.get("key199"))).toBe("x");
    expect(lines.filter((line) => line.includes("redis is loading its data")).length).toBe(1);
  });
});

describe("all connections of a node", () => {
  /** The names of the node's connections at this Redis. */
  const names = async ({ url }: RedisServer) => {
    const admin = new Redis(url);
    const list = String(await admin.client("LIST"));
    admin.disconnect();
    return [...list.matchAll(/ name=skylapse-(\S+)/g)].map(([, name]) => name).sort();
  };
  const all = async (redis: RedisConnections) => {
    redis.subscriber.subscribe(`${redis.prefix}test`, { onMessage: () => {} });
    await Promise.all([redis.commands, redis.bulk, redis.reading].map((connection) => connection.ready(5_000)));
    await expect.poll(() => redis.subscriber.isSubscribed).toBe(true);
  };

  test("are four, however often they are used, and reopened, asked for and lost", async () => {
    const server = await serve();
    const redis = open(server.url);
    await all(redis);
    redis.bulk.interrupt();
    await all(redis);
    await expect.poll(() => names(server)).toEqual(["bulk", "commands", "reading", "subscriber"]);
  });

  test("deliver the messages of a channel, and tell a subscriber when it has subscribed again", async () => {
    const server = await serve();
    const [redis, heard, subscribed] = [open(server.url), vi.fn(), vi.fn()];
    redis.subscriber.subscribe("news", { onMessage: (message) => heard(message.toString()), onSubscribed: subscribed });
    await expect.poll(() => subscribed.mock.calls.length).toBe(1);
    await redis.commands.ready(5_000);
    await redis.commands.do((client) => client.publish("news", "one"));
    await expect.poll(() => heard.mock.calls.flat()).toEqual(["one"]);
    redis.subscriber.interrupt();
    await expect.poll(() => subscribed.mock.calls.length).toBe(2);
    await redis.commands.do((client) => client.publish("news", "two"));
    await expect.poll(() => heard.mock.calls.flat()).toEqual(["one", "two"]);
  });

  test("lead to the master that Sentinels name, all of them, also after a failover", async () => {
    const [master, replica] = await serveReplicated();
    const sentinel = await startSentinel(master.port);
    cleanUp.push(() => sentinel.stop());
    const redis = open(sentinel.url);
    await all(redis);
    expect(await names(master)).toEqual(["bulk", "commands", "reading", "subscriber"]);
    await sentinel.knowsReplica();
    await sentinel.failover();
    // Nobody sends a command meanwhile.
    await expect.poll(() => names(replica)).toEqual(["bulk", "commands", "reading", "subscriber"]);
    await expect.poll(() => names(master)).toEqual([]);
    await expect.poll(() => redis.unavailableReason).toBeUndefined();
  });

  test("leave a Redis that has become a replica as soon as one of them notices", async () => {
    const server = await serve();
    const redis = open(server.url);
    await all(redis);
    const admin = new Redis(server.url);
    cleanUp.push(async () => admin.disconnect());
    await admin.replicaof("127.0.0.1", 1);
    await expect(redis.commands.do((client) => client.set("a", "1"))).rejects.toThrow(/replica/);
    await expect.poll(() => names(server)).toEqual([]);
    await expect.poll(() => redis.unavailableReason).toMatch(/replica/);
    await admin.replicaof("NO", "ONE");
    await expect.poll(() => redis.unavailableReason).toBeUndefined();
    await all(redis);
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

  test("warns of replicas that may lack acknowledged events, unless Redis or the server waits for one", async () => {
    const [master, replica] = await serveReplicated();
    await expect.poll(() => infoOf(replica)).toContain("master_link_status:up");
    await check(open(master.url));
    expect(lines.splice(0)).toEqual([
      expect.stringMatching(/set REDIS_WAIT_REPLICAS=1, or in Redis min-replicas-to-write 1/),
    ]);
    await check(open(master.url, "skylapse", COMMAND_TIMEOUT_MS, 1));
    expect(lines).toEqual([]);
    const checking = check(open(master.url, "skylapse", COMMAND_TIMEOUT_MS, 2), 100);
    await expect(checking).rejects.toThrow(/^REDIS_URL: fewer replicas confirm writes than REDIS_WAIT_REPLICAS/);
    expect(lines[0]).toMatch("1 replica follows the redis master, but REDIS_WAIT_REPLICAS is 2");
    await demandReplica(master);
    await check(open(master.url));
    expect(lines.filter((line) => line.includes("min-replicas"))).toEqual([]);
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
    const admin = new Redis(server.url);
    await admin.config("SET", "requirepass", "right");
    admin.disconnect();
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
