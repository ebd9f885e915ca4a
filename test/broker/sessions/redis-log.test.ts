import pino from "pino";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { encodePacket } from "../../../broker/aedes/packet-codec.ts";
import { type LogEntry, MessageLog } from "../../../broker/sessions/redis/message-log.ts";
import { RedisWriter } from "../../../broker/sessions/redis/writer.ts";
import { openRedis } from "../../../deploy/redis/redis.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";

let server: RedisServer;
let count = 0;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

const logger = pino({ level: "silent" });

/** A log and its writer, with limits on entries and bytes. */
function place({ maxEntries = 1000, maxBytes = 1_000_000 } = {}) {
  const redis = openRedis({ url: server.url, prefix: `log-${++count}`, logger });
  const keys = ["log", "seq", "changed", "totals", "sender", "retained"];
  const limits = [1000, maxEntries, maxBytes, 1000, 1_000_000].map(String);
  const writer = new RedisWriter({
    redis,
    name: "writer",
    head: () => ({ keys, args: ["node", "0", ...limits] }),
    caughtUp: async () => undefined,
    onDrop: () => undefined,
    onTotals: () => undefined,
    logger,
  });
  const entries: LogEntry[] = [];
  const onGap = vi.fn(async () => undefined);
  const log = new MessageLog({ redis, onEntry: (entry) => entries.push(entry), onGap, logger });
  onTestFinished(async () => {
    log.close();
    writer.close();
    await redis.close();
  });
  let counter = 0;
  return {
    log,
    entries,
    onGap,
    redis: redis.connect("test", { keyPrefix: `${redis.prefix}mqtt:` }),
    publish: (payload: string, own = ++counter) =>
      writer.run(() => ({ keys: [], args: ["p", String(own), encodePacket(packet(payload))] })),
    payloads: () => entries.map((entry) => (entry.kind === "packet" ? entry.packet.payload.toString() : entry.kind)),
  };
}

function packet(payload: string) {
  const flags = { cmd: "publish" as const, topic: "t", qos: 1 as const, retain: false, dup: false };
  return { ...flags, payload: Buffer.from(payload), brokerId: "", brokerCounter: 0, messageId: undefined };
}

describe("the log of all nodes", () => {
  it("passes on entries after a position, in order, with growing numbers", async () => {
    const test = place();
    await test.publish("before");
    test.log.start(await test.log.head());
    await Promise.all(["a", "b", "c"].map((payload) => test.publish(payload)));
    await expect.poll(test.payloads).toEqual(["a", "b", "c"]);
    const numbers = test.entries.map((entry) => (entry.kind === "packet" ? entry.packet.brokerCounter : 0));
    expect(numbers.toSorted((one, other) => one - other)).toEqual(numbers);
    expect(new Set(numbers).size).toBe(3);
    expect(test.log.position).toBe(numbers.at(-1));
    expect(test.onGap).not.toHaveBeenCalled();
  });

  it("appends a publication once, even when the write is retried", async () => {
    const test = place();
    test.log.start(0);
    await test.publish("a", 1);
    await test.publish("a", 1);
    await test.publish("b", 2);
    await test.publish("a", 1);
    await expect.poll(test.payloads).toEqual(["a", "b"]);
    expect(await test.redis.xlen("log")).toBe(2);
  });

  it.each([
    ["entries", { maxEntries: 100 }],
    ["bytes", { maxBytes: 3_000 }],
  ])("is bounded by %s, and a node whose position is no longer in the log reloads", async (_, limits) => {
    const test = place(limits);
    await test.publish("first");
    const position = await test.log.head();
    for (let index = 0; index < 300; index++) void test.publish(`message ${index}`);
    await test.publish("last");
    expect(await test.redis.xlen("log")).toBeLessThanOrEqual(100);
    test.log.start(position);
    await expect.poll(() => test.onGap.mock.calls.length).toBe(1);
    await expect.poll(async () => test.log.position === (await test.log.head())).toBe(true);
    await test.publish("live");
    await expect.poll(test.payloads).toEqual(["live"]);
    const stored = (await test.redis.xrange("log", "-", "+")).reduce(
      (sum, [, [, value = ""]]) => sum + value.length,
      0,
    );
    expect(Number(await test.redis.hget("totals", "log"))).toBe(stored);
  });

  it("detects that Redis was emptied, and continues with new entries", async () => {
    const test = place();
    test.log.start(0);
    await test.publish("a");
    await expect.poll(test.payloads).toEqual(["a"]);
    await test.redis.flushall();
    await expect.poll(() => test.onGap.mock.calls.length).toBe(1);
    await test.publish("b");
    await expect.poll(test.payloads).toEqual(["a", "b"]);
    expect(test.onGap).toHaveBeenCalledOnce();
  });

  it("assigns higher numbers than before after Redis lost its last entries", async () => {
    const test = place();
    test.log.start(0);
    await test.publish("a");
    await expect.poll(test.payloads).toEqual(["a"]);
    const before = test.log.position;
    await test.redis.del("seq", "log");
    await test.publish("b");
    await expect.poll(() => test.onGap.mock.calls.length).toBe(1);
    await test.publish("c");
    await expect.poll(test.payloads).toContain("c");
    expect(test.log.position).toBeGreaterThan(before);
  });

  it("stops reading when it is closed", async () => {
    const test = place();
    test.log.start(0);
    const waiting = test.log.reached(Number.MAX_SAFE_INTEGER);
    test.log.close();
    await waiting;
    await test.publish("a");
    expect(test.payloads()).toEqual([]);
  });
});
