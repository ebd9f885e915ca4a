import { readFileSync } from "node:fs";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import type { Journal } from "../../../bridge/journal/journal.ts";
import { encodeReference } from "../../../bridge/journal/preview-references.ts";
import { openRedisPreviews } from "../../../bridge/previews/previews.ts";
import type { LoggedPublication } from "../../../platform/publication-log.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { smallJpeg } from "../../support/jpeg.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import { from, message, positions, range } from "./messages.ts";
import { describeMqttLog, mqttOf, publish, readLog, texts } from "./mqtt-log-suite.ts";
import { startReadCutter } from "./read-cutter.ts";
import { createRedisPlace, type NodeOptions, type RedisPlace } from "./redis-place.ts";

let server: RedisServer;
let place: RedisPlace;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());

describeMqttLog("the log for MQTT sessions in Redis", () => createRedisPlace(server.url));

function openNode(options: NodeOptions = {}): Promise<Journal> {
  return place.openNode(options);
}

const key = (name: string) => `${place.prefix}journal:${name}`;

/** What a follower of the log gets. */
function follow(journal: Journal): LoggedPublication[] {
  const followed: LoggedPublication[] = [];
  mqttOf(journal).publications.follow((publications) => followed.push(...publications));
  return followed;
}

/** Publications as texts, which are compared much faster than buffers. */
const lines = (publications: readonly (LoggedPublication | undefined)[] = []) =>
  publications.map((one) => `${one?.position} ${one?.topic} ${one?.qos} ${one?.retain} ${one?.payload.toString()}`);

function resets(journal: Journal): () => number {
  let count = 0;
  mqttOf(journal).onReset(() => count++);
  return () => count;
}

async function undelivered(journal: Journal): Promise<LoggedPublication[]> {
  const found: LoggedPublication[] = [];
  for await (const { payload, ...one } of journal.unfinished()) found.push({ ...one, payload: Buffer.from(payload) });
  return found;
}

const command = (text: string) => message({ open: { payload: Buffer.from(text), qos: 1, retain: false } });

/** A node whose reads of the log fail until they are let through. */
async function openCutNode(options: NodeOptions = {}) {
  const cutter = await startReadCutter(Number(new URL(server.url).port));
  const prefix = place.prefix.replace(/[{}]|:$/g, "");
  const redis = openRedis({ url: cutter.url, prefix, logger: pino({ level: "silent" }) });
  const node = await openNode({ redis, waits: { blockMs: 50 }, ...options });
  onTestFinished(async () => {
    await node.close();
    await redis.close();
    cutter.close();
  });
  return {
    node,
    /** Resolves when no read waits in Redis. */
    cut: async () => {
      cutter.cutReads(1_000_000);
      await expect.poll(() => cutter.left(), { interval: 5 }).toBeLessThan(1_000_000);
    },
    heal: () => cutter.cutReads(0),
  };
}

describe("several nodes", () => {
  beforeEach(async () => {
    place = await createRedisPlace(server.url);
  });
  afterEach(() => place.dispose());

  test("each node's followers get every publication once and in order, whichever node appended it", async () => {
    const nodes = await Promise.all([openNode(), openNode(), openNode()]);
    const followed = nodes.map(follow);
    await Promise.all(
      nodes.flatMap((node, index) =>
        range(1, 300).map((n) =>
          n % 3 === 0
            ? node.append(message())
            : publish(node, `${index}-${n} ${"x".repeat(n * 10)}`, { topic: `t/${n % 7}`, retain: n % 5 === 0 }),
        ),
      ),
    );
    await expect.poll(() => nodes.map((node) => mqttOf(node).publications.head)).toEqual([900, 900, 900]);
    const { read, missing } = await readLog(mqttOf(nodes[0]).publications);
    expect(missing).toEqual([]);
    expect(read.length).toBe(600);
    for (const one of followed) expect(lines(one)).toEqual(lines(read));
    for (const node of nodes) {
      const page = mqttOf(node).publications.recent(0);
      expect(lines(page?.publications)).toEqual(lines(read.slice(0, 512)));
    }
    const topics = range(0, 6).map((n) => `t/${n}`);
    const last = topics.map((topic) => read.findLast((one) => one.topic === topic && one.retain));
    for (const node of nodes) expect(lines(await mqttOf(node).publications.retained(topics))).toEqual(lines(last));
    const bytes = nodes.map((node) => mqttOf(node).publications.bytes);
    expect(new Set(bytes).size).toBe(1);
    expect(bytes[0]).toBeGreaterThan(read.reduce((sum, { payload }) => sum + payload.length, 0));
  });

  test("a node that missed more chunks than one read returns gets all publications", async () => {
    const one = await openNode();
    const { node: other, cut, heal } = await openCutNode();
    const followed = follow(other);
    await cut();
    for (const n of range(1, 200)) await publish(one, `${n} ${"x".repeat(20_000)}`);
    expect(followed).toEqual([]);
    heal();
    await expect.poll(() => mqttOf(other).publications.head).toBe(200);
    expect(positions(followed)).toEqual(range(1, 200));
  });

  test("a node gets the publications of chunks that retention has already removed", async () => {
    const one = await openNode();
    const { node: other, cut, heal } = await openCutNode();
    const [followed, resetCount] = [follow(other), resets(other)];
    await cut();
    for (const n of range(1, 30)) await publish(one, `${n}`);
    await place.admin.xdel(key("log"), ...range(1, 29).map((n) => `${n}-0`));
    heal();
    await expect.poll(() => other.head).toBe(30);
    await publish(one, "31");
    await expect.poll(() => mqttOf(other).publications.head).toBe(31);
    expect(texts(followed)).toEqual(range(1, 31).map(String));
    expect(resetCount()).toBe(0);
    expect(place.logged.join()).toContain("for longer than events are kept");
  });

  test("publications that the store has lost are reported to followers and to readers", async () => {
    const one = await openNode();
    const { node: other, cut, heal } = await openCutNode();
    const [followed, resetCount] = [follow(other), resets(other)];
    await publish(one, "1");
    await expect.poll(() => followed.length).toBe(1);
    await cut();
    for (const n of range(2, 8)) await publish(one, `${n}`);
    await place.admin.xdel(key("publications"), "4-0", "8-0");
    heal();
    await expect.poll(() => mqttOf(other).publications.head).toBe(8);
    expect(texts(followed)).toEqual(["1", "2", "3", "5", "6", "7"]);
    expect(resetCount()).toBeGreaterThan(0);
    expect(mqttOf(other).publications.recent(3)).toBeUndefined();
    expect(await readLog(mqttOf(other).publications)).toMatchObject({
      read: ["1", "2", "3", "5", "6", "7"].map((text) => ({ payload: Buffer.from(text) })),
      missing: [
        { after: 3, before: 5 },
        { after: 7, before: 9 },
      ],
    });
  });

  test("publications are removed once no live node needs them", async () => {
    const waits = { heartbeatMs: 20, deadAfterMs: 1_000 };
    const [one, other] = await Promise.all([openNode({ waits }), openNode({ waits })]);
    const dying = await openNode({ waits: { heartbeatMs: 3_600_000 } });
    for (const n of range(1, 300)) await publish(one, `${n} ${"x".repeat(5_000)}`);
    const logs = [one, other].map((node) => mqttOf(node).publications);
    await expect.poll(() => mqttOf(other).publications.head).toBe(300);
    logs[0]?.trim(200);
    logs[1]?.trim(100);
    // The third node keeps everything until it is dead.
    let needed = 200;
    await expect
      .poll(() => {
        logs[0]?.trim(++needed);
        return logs[1]?.floor;
      })
      .toBe(100);
    expect(dying.head).toBe(300);
    const rows = await place.admin.xlen(key("publications"));
    expect(rows).toBeLessThanOrEqual(200);
    expect(logs[0]?.bytes).toBe(logs[1]?.bytes);
    expect(await readLog(mqttOf(one).publications)).toMatchObject({ missing: [], read: { length: 200 } });
    const late = await openNode();
    expect(mqttOf(late).publications.floor).toBe(100);
    expect(mqttOf(late).publications.bytes).toBe(logs[0]?.bytes);
  });

  test("a row that is written after its client has left the node is refused, and the node goes on with what it has", async () => {
    const { node, cut, heal } = await openCutNode();
    const { rows } = mqttOf(node);
    const heard: string[] = [];
    const hear = (client: string) => heard.push(client);
    rows.follow({ onTaken: hear, onLeft: hear, onRemoved: hear, onWill: hear });
    await rows.take("a");
    rows.set("session:a", "1");
    await rows.flush();
    await cut();
    rows.set("session:a", "2");
    rows.release("a");
    await rows.flush();
    // The node does not know yet that the client has left: the change is not read.
    expect(rows.writerOf("a")).toBe("this");
    rows.release("a");
    rows.set("session:a", "3");
    await rows.flush();
    rows.set("session:a", "4");
    await rows.flush();
    heal();
    await expect.poll(() => rows.writerOf("a")).toBe("nobody");
    expect(await rows.take("a")).toMatchObject({ session: "2", isNewest: true });
    expect(heard).toEqual([]);
  });

  test("publications stay for a session that has moved to another node, until that node says what it needs", async () => {
    const [one, two] = (await Promise.all([openNode(), openNode()])).map(mqttOf);
    if (one === undefined || two === undefined) return;
    const listener = { onTaken: () => {}, onLeft: () => {}, onRemoved: () => {}, onWill: () => {} };
    for (const { rows } of [one, two]) {
      for await (const _ of rows.load("session:")) throw new Error("there is a session already");
      rows.follow(listener);
    }
    await one.rows.take("a");
    one.rows.set("session:a", "at position 0");
    await one.rows.flush();
    for (let n = 1; n <= 300; n++)
      await one.append({ topic: "t", payload: Buffer.alloc(2_000), qos: 1, retain: false });
    await expect.poll(() => two.publications.head).toBe(300);
    // The second node does not have the session yet, so that it needs nothing.
    two.publications.trim(300);
    expect(await two.rows.take("a")).toMatchObject({ session: "at position 0", isNewest: false });
    await expect.poll(() => one.rows.writerOf("a")).toBe("other");
    // The first node does not have the session any more. What the second node said is older than its take.
    for (let n = 0; n < 5; n++) {
      one.publications.trim(300 - 5 + n);
      await one.rows.take("b");
    }
    expect((await one.publications.read(0)).publications[0]?.position).toBe(1);
    two.publications.trim(299);
    await expect
      .poll(async () => {
        one.publications.trim(299);
        return (await one.publications.read(0)).publications[0]?.position;
      })
      .toBeGreaterThan(1);
  });

  test("a node does not take publications for lost that another node has just removed", async () => {
    const one = await openNode();
    const { node: other, cut } = await openCutNode();
    for (const n of range(1, 5)) await publish(one, `${n} ${"x".repeat(5_000)}`);
    const logs = [one, other].map((node) => mqttOf(node).publications);
    await expect.poll(() => logs[1]?.head).toBe(5);
    await cut();
    logs[1]?.trim(3);
    await expect.poll(() => place.admin.hvals(key("publication-floors"))).toContain("3 0 3");
    logs[0]?.trim(3);
    await expect.poll(() => logs[0]?.floor).toBe(3);
    expect(logs[1]?.floor).toBe(0);
    expect(await logs[1]?.read(0)).toMatchObject({ publications: [{ position: 4 }, { position: 5 }], next: 5 });
    expect(logs[1]?.floor).toBe(3);
  });

  test("another node reports the unfinished commands of a dead node, but not of a live node", async () => {
    const waits = { heartbeatMs: 20, deadAfterMs: 2_500 };
    const [dying, living, successor] = await Promise.all([
      openNode({ waits: { heartbeatMs: 3_600_000 } }),
      openNode({ waits }),
      openNode({ waits }),
    ]);
    await living.append(command("live"));
    await dying.append(command("finished"));
    await dying.append(command("lost"));
    dying.finished(2);
    // Deletes the finished command.
    await dying.append(message());
    const informed = await Promise.race(
      [living, successor].map((node) => new Promise<Journal>((resolve) => node.onUnfinished(() => resolve(node)))),
    );
    await expect.poll(async () => texts(await undelivered(informed))).toEqual(["lost"]);
    informed.finished(3);
    expect(await undelivered(informed)).toEqual([]);
    const fields = () => place.admin.keys(key("open:*"));
    await expect.poll(fields).toHaveLength(1);
    living.finished(1);
    await expect.poll(fields).toEqual([]);
  });

  test("a restarted node that has a name reports the commands of its last run soon", async () => {
    const silent = { heartbeatMs: 3_600_000 };
    const died = await openNode({ nodeName: "a", waits: silent });
    await died.append(command("1"));
    const other = await openNode({ nodeName: "b", waits: silent });
    expect(await undelivered(other)).toEqual([]);
    const again = await openNode({ nodeName: "a", waits: { heartbeatMs: 20, deadAfterMs: 3_000 } });
    const startedAt = performance.now();
    // Not an event: the node may have claimed the commands before it is open.
    await expect.poll(async () => texts(await undelivered(again))).toEqual(["1"]);
    // Two missed heartbeats and not the whole time of silence.
    expect(performance.now() - startedAt).toBeLessThan(2_500);
    expect(await readLog(mqttOf(again).publications)).toMatchObject({ read: [] });
  });

  test("the undelivered messages of the version before are read in order, and removed at the end of the take-over", async () => {
    const file = new URL("redis-before-the-log.json", import.meta.url);
    const values = z.record(z.string(), z.string()).parse(JSON.parse(readFileSync(file, "utf8")));
    const admin = place.admin;
    for (const [name, value] of Object.entries(values))
      await admin.restore(place.prefix + name, 0, Buffer.from(value, "base64"));
    const [one, other] = await Promise.all([openNode({ nodeName: "a" }), openNode()]);
    const { earlier } = mqttOf(one);
    const found: LoggedPublication[] = [];
    await earlier?.alone(async () => {
      for await (const publication of earlier.undelivered()) found.push(publication);
      expect(found.map(({ payload, qos, retain }) => `${payload} ${qos} ${retain}`)).toEqual([
        "event 2 false",
        "superseded 1 false",
        "command 1 false",
        "newest 1 true",
      ]);
      await earlier.put({ open: found.filter(({ payload }) => String(payload) === "command") });
      // Until the end, another attempt may follow.
      expect((await Promise.all([undelivered(one), undelivered(other)])).flat()).toEqual([]);
      await earlier.end("7");
    });
    expect(await admin.keys(key("unemitted:*"))).toEqual([]);
    expect(await admin.keys(key("partial:*"))).toEqual([]);
    expect(await mqttOf(other).earlier?.mark()).toBe("7");
    await expect
      .poll(async () => (await Promise.all([one, other].map(undelivered))).flatMap(texts))
      .toEqual(["command"]);
  });

  test("the id of a QoS 2 publication is stored with the message, expires, and is removed", async () => {
    const [journal, redis] = [await openNode(), place.admin];
    const append = (messageId: number, session = "user:a\u001fb") =>
      journal.append(message({ incomingId: { session, messageId } }));
    await Promise.all([append(7), append(65_535), append(7, "other")]);
    const set = key("incoming:user:a\u001fb");
    expect((await redis.smembers(set)).sort()).toEqual(["65535", "7"]);
    expect(await redis.ttl(set)).toBeGreaterThan(6 * 86_400);
    await mqttOf(journal).removeIncomingIds([{ session: "user:a\u001fb", messageId: 7 }]);
    expect(await redis.smembers(set)).toEqual(["65535"]);
    expect(await redis.smembers(key("incoming:other"))).toEqual(["7"]);
  });

  test("one node at a time is the first one, which stays it until it ends", async () => {
    const waits = { heartbeatMs: 50, deadAfterMs: 60_000 };
    const journals: Journal[] = [];
    // Several nodes, because the order of their random names must not matter.
    for (const _ of range(1, 7)) journals.push(await openNode({ waits }));
    const first = () => range(1, 7).filter((n) => journals[n - 1]?.mqtt?.rows.isFirstNode);
    expect(first()).toEqual([1]);
    await journals.shift()?.close();
    await expect.poll(() => first().length).toBe(1);
  });

  test("a publication that names a preview comes with its picture at every node", async () => {
    const previews = openRedisPreviews({ redis: place.redis });
    onTestFinished(() => previews.close());
    const [one, other] = await Promise.all([openNode({ previews }), openNode({ previews })]);
    const followed = [follow(one), follow(other)];
    const jpeg = smallJpeg("c1");
    await previews.save("north", "c1", jpeg);
    const etag = (await previews.newest(["north"])).get("north")?.etag ?? "";
    const reference = encodeReference({ camera: "north", capture: "c1", etag });
    await publish(one, jpeg.toString("latin1"), { payload: jpeg, reference });
    await expect.poll(() => other.head).toBe(1);
    for (const publications of followed) expect(publications[0]?.payload).toEqual(jpeg);
    const row = await place.admin.xrangeBuffer(key("publications"), "-", "+");
    expect(row[0]?.[1][3]?.includes(jpeg)).toBe(false);
  });
});

describe("faults of Redis", () => {
  const PATIENT = { blockMs: 50, heartbeatMs: 50 };
  let own: RedisServer;

  beforeEach(async () => {
    own = await startRedis();
    place = await createRedisPlace(own.url);
  });
  afterEach(async () => {
    own.process.kill("SIGCONT");
    await place.dispose();
    await own.remove();
  });

  /** Like a camera, sends the message again until it is acknowledged. @returns whether it was acknowledged at once */
  async function deliver(journal: Journal, seq: number, text = `${seq}`): Promise<boolean> {
    const publication = { payload: Buffer.from(text), qos: 1 as const, retain: false };
    for (let isFirst = true; ; isFirst = false) {
      try {
        await journal.append({ ...message(from("device:north", "s", seq)), publish: publication });
        return isFirst;
      } catch (error) {
        expect(error).toMatchObject({ name: "StoreUnavailableError" });
        await expect.poll(() => journal.unavailableReason, { interval: 10 }).toBeUndefined();
      }
    }
  }

  test("when Redis is killed during appends of three nodes, followers get every publication once", async () => {
    const nodes = await Promise.all(range(1, 3).map(() => openNode({ waits: PATIENT })));
    const followed = nodes.map(follow);
    let next = 0;
    const work = nodes.flatMap((node) =>
      range(1, 5).map(async () => {
        while (next < 1_500) await deliver(node, ++next);
      }),
    );
    await expect.poll(() => next, { interval: 1 }).toBeGreaterThan(500);
    await own.stop("SIGKILL");
    await own.start();
    await Promise.all(work);
    await expect.poll(() => new Set(nodes.map(({ head }) => head)).size).toBe(1);
    const sent = range(1, next).map(String).sort();
    for (const one of followed) expect(texts(one).sort()).toEqual(sent);
    const { read, missing } = await readLog(mqttOf(nodes[0] as Journal).publications);
    expect(missing).toEqual([]);
    for (const one of followed) expect(lines(one)).toEqual(lines(read));
  });

  test("a publication and a command whose append had no answer are followed, and the command is reported", async () => {
    const journal = await openNode({ waits: PATIENT, commandTimeoutMs: 400 });
    const followed = follow(journal);
    // From now on Redis has the script cached.
    await deliver(journal, 1);
    let seq = 1;
    let wasCarriedOut = false;
    // Tries several times, because Redis may drop the unread input of a closed connection: then Redis executes nothing.
    while (!wasCarriedOut && seq < 6) {
      const { origin } = from("device:north", "s", ++seq);
      const sent = { ...command("c"), origin, publish: { payload: Buffer.from("p"), qos: 1 as const, retain: false } };
      own.process.kill("SIGSTOP");
      await expect(journal.append(sent)).rejects.toThrow(/does not answer|cannot be reached/);
      own.process.kill("SIGCONT");
      await expect.poll(() => journal.unavailableReason).toBeUndefined();
      wasCarriedOut = (await journal.append(sent)).duplicate;
    }
    expect(wasCarriedOut).toBe(true);
    await expect.poll(() => followed.length).toBe(seq);
    await expect.poll(async () => positions(await undelivered(journal))).toEqual([journal.head]);
  });

  test("when Redis is rolled back to a copy, the log begins again at its end", async () => {
    const [one, other] = await Promise.all([openNode({ waits: PATIENT }), openNode({ waits: PATIENT })]);
    const [, folder = ""] = (await place.admin.config("GET", "dir")) as [string, string];
    for (const seq of range(1, 5)) await deliver(one, seq);
    await own.stop();
    await cp(join(folder, "appendonlydir"), join(folder, "old"), { recursive: true });
    await own.start();
    for (const seq of range(6, 10)) await deliver(one, seq);
    await expect.poll(() => mqttOf(other).publications.head).toBe(10);
    const { epoch } = one;
    const told = [one, other].map((node) => new Promise<void>((resolve) => mqttOf(node).onReset(() => resolve())));
    await own.stop();
    await rm(join(folder, "appendonlydir"), { recursive: true });
    await cp(join(folder, "old"), join(folder, "appendonlydir"), { recursive: true });
    await own.start();
    await Promise.all(told);
    for (const node of [one, other]) {
      const { publications } = mqttOf(node);
      expect(publications.epoch).not.toBe(epoch);
      expect(publications.head).toBe(5);
      expect(publications.recent(4)).toBeUndefined();
    }
    const followed: LoggedPublication[] = [];
    mqttOf(other).publications.follow((batch) => followed.push(...batch));
    await deliver(one, 11, "after");
    await expect.poll(() => texts(followed)).toEqual(["after"]);
    const { read, missing } = await readLog(mqttOf(other).publications);
    expect(texts(read)).toEqual(["1", "2", "3", "4", "5", "after"]);
    expect(missing).toEqual([]);
  });
});
