// Makes `data.tar.gz`: the data of the version before the log, as a server of that version leaves it when it is killed.
// With a checkout of that version (30af8f0), built and with its dependencies:
//
//   node test/broker/sessions/earlier/make-data.mjs CHECKOUT
//   node test/broker/sessions/earlier/make-data.mjs CHECKOUT redis
//
// The second command makes `redis-data.json`: two nodes on one Redis, killed together. The file contains the keys of the
// journal and the broker without the prefix, each with the reply of DUMP in Base64. Clients connect to the nodes in turn.
//
// The clients send exactly what is written here. What they leave behind:
//
// - archive (alice): away, with two overlapping filters of QoS 1 and 2.
// - slow (bob): has got e1 to e3 at QoS 1, has acknowledged e2 only.
// - exact (bob): has got e1 to e3 at QoS 2, with a PUBREC and without a PUBCOMP for e1, and no answer to e2 and e3.
// - late (dave): has subscribed after e5.
// - watch (carol): away, with a filter outside the topic root.
// - writer (carol): has published e7 at QoS 2 with message id 77, and no PUBREL.
// - goodbye (carol): a will, and connected when the server is killed.
//
// Then another process accepts publications for which the server never was: u1 is noted as delivered, u2, a state and a
// command of the same write are not, and u3 of another write is not.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import mqttPacket from "mqtt-packet";

const ROOT = "skylapse/v1";
const EVENTS = `${ROOT}/cameras/north/events`;
const SECRET = "a-secret-of-at-least-thirty-two-characters";
const TARGET = fileURLToPath(new URL("data.tar.gz", import.meta.url));
const REDIS_TARGET = fileURLToPath(new URL("redis-data.json", import.meta.url));
const PREFIX = "before";

const [checkout = "", place = ""] = process.argv.slice(2);
const load = (path) => import(join(checkout, "dist", path));
const event = (id) => JSON.stringify({ v: 1, id, timestamp: "2026-11-29T20:00:00.000Z", event: "capture.completed" });
const state = (id, percent) => JSON.stringify({ ...JSON.parse(event(id)), event: "battery", data: { percent } });

if (place === "") await main();
else if (place === "redis") await mainOnRedis();
else await acceptWithoutServer(place);

async function main() {
  const dataPath = mkdtempSync(join(tmpdir(), "skylapse-before-"));
  const { openDevicesOf } = await load("test/support/devices.js");
  const { devices, close } = await openDevicesOf(dataPath);
  await register(devices);
  await close();
  await run([{ DATA_PATH: dataPath }]);
  // Ends with SIGKILL.
  spawnSync(process.execPath, [fileURLToPath(import.meta.url), checkout, dataPath], { stdio: "inherit" });
  const files = ["journal", "mqtt"];
  spawnSync("tar", ["--owner=0", "--group=0", "-czf", TARGET, "-C", dataPath, ...files], { stdio: "inherit" });
  rmSync(dataPath, { recursive: true });
}

async function mainOnRedis() {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "skylapse-before-"));
  const args = ["--bind", "127.0.0.1", "--port", String(port), "--dir", folder, "--save", ""];
  const server = spawn("redis-server", args, { stdio: "ignore" });
  const url = `redis://127.0.0.1:${port}`;
  const { redis, logger } = await openRedisOf(url);
  const { openRedisCluster } = await load("bridge/cluster/redis/redis.js");
  const { openDevices } = await load("bridge/auth/devices.js");
  const cluster = await openRedisCluster({ redis, logger, expiryNow: Date.now, onDamage: () => {} });
  const devices = await openDevices({ documents: cluster.documents, logger, now: Date.now });
  await register(devices);
  const secrets = { OPERATOR_KEY: SECRET, REDIS_URL: url, REDIS_PREFIX: PREFIX };
  await run(["one", "two"].map((name) => ({ ...secrets, DATA_PATH: join(folder, name) })));
  // Ends with SIGKILL.
  spawnSync(process.execPath, [fileURLToPath(import.meta.url), checkout, url], { stdio: "inherit" });
  const connection = redis.connect("dump");
  const values = {};
  const keys = await connection.keys(`${redis.prefix}*`);
  for (const key of keys.map((name) => name.slice(redis.prefix.length)).sort())
    if (/^(journal|mqtt):/.test(key))
      values[key] = (await connection.dumpBuffer(redis.prefix + key)).toString("base64");
  writeFileSync(REDIS_TARGET, `${JSON.stringify(values, undefined, 2)}\n`);
  server.kill("SIGKILL");
  rmSync(folder, { recursive: true });
  process.exit();
}

async function openRedisOf(url) {
  const { openRedis } = await load("deploy/redis/redis.js");
  const { pino } = createRequire(import.meta.url)("pino");
  const logger = pino({ level: "silent" });
  return { redis: openRedis({ url, prefix: PREFIX, logger }), logger };
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function register(devices) {
  for (const id of ["north", "south"]) await devices.set({ id, kind: "camera", secret: SECRET });
}

/** @param places the settings of each server */
async function run(places) {
  const { JWT_SECRET, signToken } = await load("test/support/dashboard.js");
  const common = { PATH: process.env.PATH, SIMULATOR: "0", ARCHIVE: "off", JWT_SECRET };
  const servers = places.map((place) => {
    const env = { ...common, WS_PORT: "0", MQTT_PORT: "0", MQTT_WS_PORT: "0", ...place };
    return spawn(process.execPath, [join(checkout, "dist/deploy/start.js")], { cwd: tmpdir(), env });
  });
  const ports = await Promise.all(servers.map(portOf));
  const camera = (id) => ({ username: id, password: SECRET, clientId: `camera-${id}` });
  const user = (name, clientId, permissions = ["camera:read"]) => ({
    ...{ username: name, password: signToken(name, permissions), clientId },
  });
  let clients = 0;
  const join_ = (who) => joined(ports[clients++ % ports.length], who);

  const archive = await join_(user("alice", "archive"));
  await archive.subscribe([`${ROOT}/cameras/+/events/#`, 1], [`${EVENTS}/#`, 2]);
  archive.end();
  const watch = await join_(user("carol", "watch", ["admin"]));
  await watch.subscribe(["garden/#", 1]);
  watch.end();
  const slow = await join_(user("bob", "slow"));
  await slow.subscribe([`${EVENTS}/#`, 1]);
  const exact = await join_(user("bob", "exact"));
  await exact.subscribe([`${EVENTS}/#`, 2]);

  const north = await join_(camera("north"));
  const south = await join_(camera("south"));
  const publish = (client, id, qos) =>
    client.publish({ topic: `${client.events}/capture.completed`, payload: event(id), qos });
  north.events = EVENTS;
  south.events = `${ROOT}/cameras/south/events`;
  await publish(north, "e1", 2);
  await publish(north, "e2", 1);
  await publish(north, "e3", 2);
  const sent = [await slow.next("publish"), await slow.next("publish"), await slow.next("publish")];
  slow.send({ cmd: "puback", messageId: sent[1].messageId });
  const { messageId } = await exact.next("publish");
  exact.send({ cmd: "pubrec", messageId });
  await exact.next("pubrel");
  await exact.next("publish");
  await exact.next("publish");
  slow.end();
  exact.end();

  await publish(north, "e4", 1);
  await publish(north, "e5", 2);
  await publish(south, "s1", 1);
  const late = await join_(user("dave", "late"));
  await late.subscribe([`${EVENTS}/#`, 2]);
  late.end();
  await publish(north, "e6", 2);

  const admin = await join_(user("carol", "writer", ["admin"]));
  await admin.publish({ topic: "garden/a", payload: "1", qos: 1 });
  await admin.publish({ topic: "garden/lamp", payload: "on", qos: 1, retain: true });
  await admin.publish({ topic: "garden/fan", payload: "slow", qos: 1, retain: true });
  await admin.publish({ topic: "garden/fan", payload: "", qos: 1, retain: true });
  await admin.publish({ topic: "garden/a", payload: "2", qos: 2 });
  await north.publish({ topic: `${ROOT}/cameras/north/state/battery`, payload: state("b1", 90), qos: 1, retain: true });
  const heater = { topic: `${ROOT}/cameras/north/state/heater`, payload: state("h1", 1), qos: 0, retain: true };
  north.send({ cmd: "publish", ...heater });
  const will = { topic: "garden/will", payload: Buffer.from("gone"), qos: 1, retain: false };
  await join_({ ...user("carol", "goodbye", ["admin"]), clean: true, will });
  admin.send({ cmd: "publish", topic: `${EVENTS}/capture.completed`, payload: event("e7"), qos: 2, messageId: 77 });
  await admin.next("pubrec");
  for (const server of servers) server.kill("SIGKILL");
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once("close", resolve))));
  for (const client of [north, south, admin]) client.end();
}

/** @param place the data path, or the URL of Redis */
async function acceptWithoutServer(place) {
  const { openLevelJournal } = await load("bridge/journal/stores/level/level.js");
  const { openRedisJournal } = await load("bridge/journal/stores/redis/redis.js");
  const { createIngest } = await load("bridge/ingest.js");
  const { topicTree } = await load("contract/topics.js");
  const { pino } = createRequire(import.meta.url)("pino");
  const logger = pino({ level: "silent" });
  const options = { logger, retentionEvents: 10_000, retentionHours: 24 };
  const journal = place.startsWith("redis:")
    ? await openRedisJournal({ redis: (await openRedisOf(place)).redis, ...options })
    : await openLevelJournal({ path: join(place, "journal"), sync: true, ...options });
  const ingest = createIngest({
    ...{ journal, tree: topicTree(ROOT), channels: new Map(), maxPayloadBytes: 65_536, logger },
    ...{ previews: {}, isRegistered: () => true },
  });
  const accept = (path, payload, { identity = "device:north", qos = 1, retain = false } = {}) =>
    ingest.accept({
      ...{ identity, topic: `${ROOT}/cameras/north/${path}`, payload: Buffer.from(payload), qos, retain },
    });
  const [{ position }] = await Promise.all([
    accept("events/capture.completed", event("u1")),
    accept("events/capture.completed", event("u2"), { qos: 2 }),
    accept("state/battery", state("b2", 80), { retain: true }),
    accept("commands/capture", JSON.stringify({ v: 1, id: "c1", args: {} }), { identity: "user:alice" }),
  ]);
  ingest.delivered(position);
  await accept("events/capture.completed", event("u3"));
  // The journal stores the delivery of u1 after 200 ms or less.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  process.kill(process.pid, "SIGKILL");
}

function portOf(server) {
  let output = "";
  return new Promise((resolve, reject) => {
    server.once("exit", () => reject(new Error(`the server has ended:\n${output}`)));
    server.stderr.on("data", (chunk) => process.stderr.write(chunk));
    server.stdout.on("data", (chunk) => {
      output += chunk;
      const port = /"msg":"ready"/.test(output) && /mqtt:\/\/[^:]+:(\d+)/.exec(output)?.[1];
      if (port) resolve(Number(port));
    });
  });
}

/** Connects a client that sends nothing by itself. Its session is persistent unless `clean` is set. */
async function joined(port, { clean = false, ...who }) {
  const socket = connect(port, "127.0.0.1");
  const parser = mqttPacket.parser();
  const packets = [];
  const waiting = new Set();
  parser.on("packet", (packet) => {
    packets.push(packet);
    for (const look of waiting) look();
  });
  socket.on("data", (bytes) => parser.parse(bytes));
  socket.on("error", () => {});
  let lastId = 0;
  const client = {
    send: (packet) => socket.write(mqttPacket.generate(packet)),
    end: () => socket.destroy(),
    next: (cmd) =>
      new Promise((resolve) => {
        const look = () => {
          const index = packets.findIndex((packet) => packet.cmd === cmd);
          if (index < 0) return;
          waiting.delete(look);
          resolve(packets.splice(index, 1)[0]);
        };
        waiting.add(look);
        look();
      }),
    async subscribe(...filters) {
      const subscriptions = filters.map(([topic, qos]) => ({ topic, qos }));
      client.send({ cmd: "subscribe", messageId: ++lastId, subscriptions });
      await client.next("suback");
    },
    async publish(publication) {
      const messageId = ++lastId;
      client.send({ cmd: "publish", messageId, ...publication });
      await client.next(publication.qos === 1 ? "puback" : "pubrec");
      if (publication.qos === 1) return;
      client.send({ cmd: "pubrel", messageId });
      await client.next("pubcomp");
    },
  };
  const login = { protocolId: "MQTT", protocolVersion: 4, clean, keepalive: 60, ...who };
  client.send({ cmd: "connect", ...login, password: Buffer.from(who.password) });
  const { returnCode } = await client.next("connack");
  if (returnCode !== 0) throw new Error(`${who.clientId} is refused: ${returnCode}`);
  return client;
}
