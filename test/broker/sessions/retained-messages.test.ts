import { ClassicLevel } from "classic-level";
import pino from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { encodePacket, type KeptPacket } from "../../../broker/aedes/packet-codec.ts";
import { RetryingConnection } from "../../../broker/cluster/redis-connection.ts";
import { RedisRetained } from "../../../broker/sessions/redis/retained.ts";
import { RetainedMessages } from "../../../broker/sessions/retained-messages.ts";
import { openRedis } from "../../../deploy/redis/redis.ts";
import { temporaryFolder } from "../broker-under-test.ts";
import { ownRedis } from "../redis-nodes.ts";

const logger = pino({ level: "silent" });
const TOPIC = "t";

function message(brokerCounter: number, brokerId = "this-run"): KeptPacket & { cmd: "publish" } {
  const flags = { cmd: "publish" as const, qos: 1 as const, retain: true, dup: false, messageId: undefined };
  return { ...flags, topic: TOPIC, payload: Buffer.from(`message ${brokerCounter}`), brokerId, brokerCounter };
}

async function payloadsOf(packets: AsyncIterable<KeptPacket>): Promise<Buffer[]> {
  const payloads: Buffer[] = [];
  for await (const { payload } of packets) payloads.push(payload);
  return payloads;
}

describe("retained messages on disk", () => {
  async function open() {
    const db = new ClassicLevel<string, Buffer>(temporaryFolder(), { valueEncoding: "buffer" });
    await db.open();
    onTestFinished(() => db.close());
    const order = { dispatched: 0 };
    const retained = new RetainedMessages({
      ...{ db, maxMessages: 10, logger },
      brokerId: () => "this-run",
      lastDispatched: () => order.dispatched,
    });
    return { db, retained, order, read: () => payloadsOf(retained.read([TOPIC])) };
  }

  it("are outdated as soon as the broker begins to store a newer message, even if they are read after that moment", async () => {
    const { retained, order, read } = await open();
    order.dispatched = 50;
    await retained.store(message(1));
    // The broker stores these messages one after the other, and the read does not wait for the last message.
    const storing = Array.from({ length: 49 }, (_, index) => retained.store(message(index + 2)));
    const [payload = Buffer.of()] = await read();
    await Promise.all(storing);
    expect(payload.toString()).not.toBe("message 50");
    expect(retained.isNewest(TOPIC, payload)).toBe(false);
    const [newest = Buffer.of()] = await read();
    expect(newest.toString()).toBe("message 50");
    expect(retained.isNewest(TOPIC, newest)).toBe(true);
  });

  it("are left out until they are dispatched, because the new subscription gets them live", async () => {
    const { retained, order, read } = await open();
    await retained.store(message(5));
    order.dispatched = 4;
    expect(await read()).toEqual([]);
    order.dispatched = 5;
    expect(await read()).toHaveLength(1);
  });

  it("of an earlier run of the broker are delivered, even with a number that this run has not reached", async () => {
    const { db, retained, read } = await open();
    await db.put(`retained:${TOPIC}`, encodePacket(message(1_000, "earlier-run")));
    await retained.load();
    const [payload = Buffer.of()] = await read();
    expect(retained.isNewest(TOPIC, payload)).toBe(true);
    await retained.store(message(1_000));
    expect(retained.isNewest(TOPIC, payload)).toBe(false);
  });

  it("stay the newest when a newer message could not be stored", async () => {
    const { db, retained, order, read } = await open();
    await retained.store(message(1));
    order.dispatched = 1;
    const [payload = Buffer.of()] = await read();
    await db.close();
    await expect(retained.store(message(2))).rejects.toThrow();
    expect(retained.isNewest(TOPIC, payload)).toBe(true);
  });
});

describe("retained messages in Redis", () => {
  it("are left out until this node's log has passed them on, because the new subscription gets them live", async () => {
    const redis = openRedis({ url: (await ownRedis()).url, prefix: "retained", logger });
    const reader = new RetryingConnection(redis, "reader", logger);
    onTestFinished(async () => {
      reader.close();
      await redis.close();
    });
    let position = 4;
    const retained = new RedisRetained({ reader, position: () => position, maxMessages: 10, logger });
    await reader.retry((connection) => connection.hset("retained", TOPIC, encodePacket(message(5))));
    expect(await payloadsOf(retained.read([TOPIC]))).toEqual([]);
    position = 5;
    expect(await payloadsOf(retained.read([TOPIC]))).toHaveLength(1);
  });
});
