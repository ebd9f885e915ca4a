import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import type { MqttLog } from "../../../platform/publication-log.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { type RedisServer, startRedis } from "../../support/redis.ts";
import type { NodeOptions } from "../../support/redis-journal.ts";
import { mqttOf } from "./mqtt-log-suite.ts";
import { startReadCutter } from "./read-cutter.ts";
import { createRedisPlace, type RedisPlace } from "./redis-place.ts";

const WAITS = { heartbeatMs: 50, deadAfterMs: 4_000, blockMs: 50 };
/** A node that sends no second heartbeat, so that it is taken for dead although it works. */
const SILENT = { ...WAITS, heartbeatMs: 3_600_000 };

let server: RedisServer;
let place: RedisPlace;

beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.remove());
beforeEach(async () => {
  place = await createRedisPlace(server.url);
});
afterEach(() => place.dispose());

const publication = { topic: "t", payload: Buffer.alloc(10_000), qos: 1, retain: false } as const;
const key = (name: string) => `${place.prefix}journal:${name}`;
const client = () => place.admin;

/** Opens a node that follows the rows. `heard` has what its broker hears. */
async function openNode(options: Partial<NodeOptions>) {
  const journal = await place.openNode(options);
  const mqtt = mqttOf(journal);
  for await (const _ of mqtt.rows.load("session:")) throw new Error("there is a session already");
  const heard: string[] = [];
  mqtt.rows.follow({
    onTaken: (name) => void heard.push(`taken ${name}`),
    onLeft: (name, row) => void heard.push(`left ${name}: ${row}`),
    onRemoved: (name) => void heard.push(`removed ${name}`),
    onWill: (name, will) => void heard.push(`will ${name}: ${will}`),
  });
  const append: MqttLog["append"] = (one) => mqtt.append(one);
  return { journal, append, rows: mqtt.rows, publications: mqtt.publications, heard };
}

async function keep({ rows }: Pick<MqttLog, "rows">, name: string, row: string, will?: string): Promise<void> {
  await rows.take(name);
  rows.set(`session:${name}`, row);
  if (will !== undefined) rows.set(`will:${name}`, will);
  await rows.flush();
}

test("publications stay until a node knows of a session that a dead node has left, even if nobody else is left", async () => {
  const one = await openNode({ waits: WAITS });
  const cutter = await startReadCutter(Number(new URL(server.url).port));
  const prefix = place.prefix.replace(/[{}]|:$/g, "");
  const redis = openRedis({ url: cutter.url, prefix, logger: pino({ level: "silent" }) });
  const blind = await openNode({ redis, waits: WAITS });
  onTestFinished(async () => {
    await blind.journal.close();
    await redis.close();
    cutter.close();
  });
  for (let n = 1; n <= 150; n++) await one.append(publication);
  await expect.poll(() => blind.publications.head).toBe(150);
  const dying = await openNode({ waits: SILENT });
  await keep(dying, "a", "at position 0");
  await expect.poll(() => blind.rows.writerOf("a")).toBe("other");
  cutter.cutReads(1_000_000);
  await expect.poll(() => cutter.left(), { interval: 5 }).toBeLessThan(1_000_000);
  await expect.poll(() => one.rows.writerOf("a")).toBe("nobody");
  await one.journal.close();
  const floors = () => client().hvals(key("publication-floors"));
  await expect.poll(floors).toHaveLength(1);
  // By what this node knows, no session needs anything.
  blind.publications.trim(149);
  await expect.poll(async () => (await floors())[0]).toMatch(/^149 /);
  expect(await client().hget(key("meta"), "publicationFloor")).toBeNull();
  cutter.cutReads(0);
  await expect.poll(() => blind.rows.writerOf("a")).toBe("nobody");
  blind.publications.trim(149);
  await expect.poll(() => client().hget(key("meta"), "publicationFloor")).toBe("149");
});

test("a living node that is taken for dead loses its clients, and writes nothing of them", async () => {
  const one = await openNode({ waits: WAITS });
  const silent = await openNode({ waits: SILENT });
  await keep(silent, "away", "row 1");
  await keep(silent, "willing", "row 1", "goodbye");
  await silent.rows.take("clean");
  silent.rows.set("will:clean", "farewell");
  await silent.rows.flush();
  await expect.poll(() => one.heard).toContain("will clean: farewell");
  await expect.poll(() => one.heard).toContain("will willing: goodbye");
  await expect.poll(() => one.rows.writerOf("away")).toBe("nobody");
  // The broker of the node closes its connections of these clients.
  const own = () => silent.heard.filter((line) => !line.startsWith("taken"));
  await expect.poll(() => own().sort()).toEqual(["left away: row 1", "left willing: row 1", "removed clean"]);
  for (const name of ["away", "willing"]) silent.rows.set(`session:${name}`, "row 2");
  silent.rows.set("will:willing", "again");
  await silent.rows.flush();
  expect(await client().hgetall(key("mqtt-rows"))).toEqual({
    "session:away": "row 1",
    "session:willing": "row 1",
    "will:willing": "goodbye",
    "will:clean": "farewell",
  });
  expect(one.heard.filter((line) => line.startsWith("will")).sort()).toEqual([
    "will clean: farewell",
    "will willing: goodbye",
  ]);
  // The client connects again at another node.
  expect(await one.rows.take("away")).toMatchObject({ session: "row 1" });
  one.rows.set("session:away", "row 3");
  await one.rows.flush();
  silent.rows.set("session:away", "row 4");
  await silent.rows.flush();
  expect(await client().hget(key("mqtt-rows"), "session:away")).toBe("row 3");
});
