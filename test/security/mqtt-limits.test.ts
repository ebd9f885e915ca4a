import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { connect as connectSocket, type Socket } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { networkOf } from "../../platform/addresses.ts";
import { FixedWindowCounter } from "../../platform/fixed-window-counter.ts";
import { RateLimiter } from "../../platform/rate-limiter.ts";
import {
  type BrokerUnderTest,
  NORTH,
  SECRET,
  startTestBroker,
  temporaryFolder,
  topic,
} from "../broker/broker-under-test.ts";
import { packet, publishPacket, rawClient, rawSession, subscribePacket, TYPE } from "../broker/raw-client.ts";
import { connectOf, TRANSPORTS } from "./mqtt-program.ts";

const UNLIMITED = {
  messagesPerSecond: Number.POSITIVE_INFINITY,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  pendingBytes: Number.POSITIVE_INFINITY,
};
const EVENT = topic("cameras/north/events/capture.completed");
/** Another address of this machine. */
const ELSEWHERE = "127.0.0.2";

/** A connection that sends nothing. */
function silent(port: number | undefined): Socket {
  const socket = connectSocket({ port: port ?? 0, host: "127.0.0.1" });
  socket.on("error", () => {});
  socket.resume();
  onTestFinished(() => {
    socket.destroy();
  });
  return socket;
}

const ended = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));

describe("1,000 connections that never send CONNECT", () => {
  it("are refused at once (half) or closed at the timeout (half), cost little memory, and disturb no other client", async () => {
    const test = await startTestBroker({ env: { MQTT_CONNECT_TIMEOUT_MS: "8000" } });
    const login = { clientId: "r", username: "r", password: test.token(["dashboard:read"]) };
    const reader = await rawSession(test.broker.ports.mqtt, login, ELSEWHERE);
    reader.send(subscribePacket([[topic("cameras/#"), 1]]));
    await reader.next(TYPE.suback);
    const before = process.memoryUsage().rss;
    const sockets = Array.from({ length: 1000 }, () => silent(test.broker.ports.mqtt));
    const all = Promise.all(sockets.map(ended));
    await expect.poll(() => test.broker.stats().refusedConnections).toBe(500);
    expect(test.broker.stats()).toMatchObject({ connections: 501, clients: 1 });
    expect(test.log.find(({ limit }) => limit !== undefined)).toMatchObject({
      limit: "MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS",
      address: "127.0.0.1",
    });
    // 50 KiB for both ends of each connection.
    expect(process.memoryUsage().rss - before).toBeLessThan(1000 * 50 * 1024);
    const camera = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH }, ELSEWHERE);
    for (let id = 1; id <= 100; id++) camera.send(publishPacket({ topic: EVENT, payload: `no. ${id}`, qos: 1, id }));
    for (let id = 1; id <= 100; id++) expect(String(await reader.next(TYPE.publish))).toMatch(new RegExp(`no. ${id}$`));
    await all;
    await expect.poll(() => test.broker.stats().connections).toBe(2);
    await test.client(NORTH);
  });
});

describe("MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS", () => {
  it.each(Object.entries(TRANSPORTS))("counts only connections without a CONNACK over %s", async (_, open) => {
    const { broker, logged } = await startTestBroker({ env: { MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS: "2" } });
    for (let n = 0; n < 3; n++) {
      const { peer, wrap } = await open(broker.ports);
      peer.send(wrap(connectOf("north")));
      await expect.poll(() => broker.stats().clients).toBe(n + 1);
    }
    const waiting = [await open(broker.ports), await open(broker.ports)];
    await expect.poll(() => broker.stats().connections).toBe(5);
    await (await open(broker.ports)).peer.ended;
    expect(await logged("too many")).toMatchObject({ limit: "MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS" });
    for (const { peer } of waiting) peer.socket.destroy();
    await expect.poll(() => broker.stats().connections).toBe(3);
    const { peer, wrap } = await open(broker.ports);
    peer.send(wrap(connectOf("north")));
    await expect.poll(() => broker.stats().clients).toBe(4);
  });
});

describe("MAX_MQTT_CONNECTS_PER_MINUTE", () => {
  it.each([
    ["secrets of a camera", () => ({ username: "north", password: `${SECRET}${Math.random()}` })],
    ["names of cameras", () => ({ username: `north-${Math.random()}`.replace(".", "-"), password: SECRET })],
    ["tokens", () => ({ username: "alice", password: `a.b.${Math.random()}`.replace("0.", "") })],
  ])("bounds how many %s one address can guess, and does not affect other addresses", async (_, guess) => {
    const { broker, logged } = await startTestBroker({ env: { MAX_MQTT_CONNECTS_PER_MINUTE: "5" } });
    for (let n = 0; n < 5; n++) {
      const guessing = await rawClient(broker.ports.mqtt);
      guessing.send(connectOf("north", guess()));
      expect((await guessing.next(TYPE.connack)).readUInt8(1)).toBe(4);
    }
    const guessing = await rawClient(broker.ports.mqtt);
    await guessing.ended;
    expect(guessing.packets).toEqual([]);
    await (await rawClient(broker.ports.mqttWs)).ended;
    expect(await logged("too many")).toMatchObject({ limit: "MAX_MQTT_CONNECTS_PER_MINUTE", address: "127.0.0.1" });
    expect(broker.stats()).toMatchObject({ refusedClients: 5, refusedConnections: 2 });
    await rawSession(broker.ports.mqtt, { clientId: "n", ...NORTH }, ELSEWHERE);
  });

  it("counts each address separately, and starts again after a minute", () => {
    let now = 0;
    const counts = new FixedWindowCounter(() => now);
    expect([counts.add("a"), counts.add("a"), counts.add("b")]).toEqual([1, 2, 1]);
    now = 59_999;
    expect(counts.add("a")).toBe(3);
    now = 60_000;
    expect([counts.add("a"), counts.add("b")]).toEqual([1, 1]);
  });

  it("evicts the oldest addresses, so that the counter itself is bounded", () => {
    const counts = new FixedWindowCounter(() => 0);
    for (let n = 0; n < 10_000; n++) counts.add(String(n));
    expect(counts.add("9999")).toBe(2);
    expect(counts.add("0")).toBe(1);
  });
});

describe("an address", () => {
  it.each([
    ["10.0.0.5", "10.0.0.5"],
    ["unknown", "unknown"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::6", "2001:db8:1:2::/64"],
    ["2001:0db8:0001:0002:ffff::1", "2001:db8:1:2::/64"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["1::", "1:0:0:0::/64"],
  ])("%s is counted as %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

describe("MAX_MQTT_CONNECTIONS_PER_USER", () => {
  const env = { MAX_MQTT_CONNECTIONS_PER_USER: "2" };
  const codeOf = async (test: BrokerUnderTest, options: Parameters<BrokerUnderTest["client"]>[0]) =>
    test.client(options).then(
      () => 0,
      (error: { code: number }) => error.code,
    );

  it("limits the connections of one user, device or service, and answers the next connection with CONNACK 3", async () => {
    const test = await startTestBroker({ env });
    const alice = { username: "a", password: test.token(["dashboard:read"]) };
    for (const who of [NORTH, alice]) {
      const first = await test.client(who);
      await test.client({ ...who, clientId: `second-of-${who.username}` });
      expect(await codeOf(test, who)).toBe(3);
      // A client at the limit can still replace its own connection.
      expect(await codeOf(test, { ...who, clientId: `second-of-${who.username}` })).toBe(0);
      await first.endAsync();
      await expect.poll(() => codeOf(test, who)).toBe(0);
    }
    expect(await test.logged("already has 2 connections")).toMatchObject({ username: "north" });
  });

  it("limits connections that are made at the same moment", async () => {
    const test = await startTestBroker({ env });
    const codes = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const peer = await rawClient(test.broker.ports.mqtt);
        peer.send(connectOf("north"));
        return (await peer.next(TYPE.connack)).readUInt8(1);
      }),
    );
    expect(codes.toSorted()).toEqual([0, 0, 3, 3, 3, 3, 3, 3, 3, 3]);
  });
});

describe("MAX_MQTT_USER_CONNECTS_PER_MINUTE", () => {
  it("limits how often one user, device or service connects, answers the next attempt with CONNACK 3, and affects no other identity", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_USER_CONNECTS_PER_MINUTE: "3" } });
    const alice = { username: "a", password: test.token(["dashboard:read"]) };
    for (const who of [NORTH, alice]) {
      for (let n = 0; n < 3; n++) await (await test.client(who)).endAsync();
      await expect(test.client(who)).rejects.toMatchObject({ code: 3 });
    }
    expect(await test.logged("has connected 3 times within a minute")).toMatchObject({ username: "north" });
  });

  it("counts authenticated connections only, so that nobody else can use up a camera's limit", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_USER_CONNECTS_PER_MINUTE: "3" } });
    for (let n = 0; n < 5; n++) {
      const guessing = await rawClient(test.broker.ports.mqtt);
      guessing.send(connectOf("north", { ...NORTH, password: `${SECRET}${n}` }));
      expect((await guessing.next(TYPE.connack)).readUInt8(1)).toBe(4);
    }
    await test.client(NORTH);
  });
});

describe("MAX_MQTT_MESSAGES_PER_SECOND", () => {
  const flood = (count: number, qos: 1 | 2 = 1) =>
    Buffer.concat(
      Array.from({ length: count }, (_, n) => publishPacket({ topic: EVENT, payload: String(n), qos, id: n + 1 })),
    );

  it.each([1, 2] as const)("throttles a client that publishes faster at QoS %i, and loses no message", async (qos) => {
    const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "200" } });
    const camera = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH });
    const started = performance.now();
    // The limit of 200 a second allows a burst of 400 messages. The broker reads all 600 messages at once.
    camera.send(flood(600, qos));
    const acknowledged = qos === 1 ? TYPE.puback : TYPE.pubrec;
    const ids: number[] = [];
    for (let n = 0; n < 600; n++) ids.push((await camera.next(acknowledged)).readUInt16BE(0));
    // PUBRECs may be out of order, because their messages are stored in parallel.
    if (qos === 2) ids.sort((a, b) => a - b);
    expect(ids).toEqual(Array.from({ length: 600 }, (_, n) => n + 1));
    expect(test.ingest.accepted.map(({ payload }) => Number(payload))).toEqual(
      Array.from({ length: 600 }, (_, n) => n),
    );
    // The next message is read once the rate is below the limit again.
    camera.send(publishPacket({ topic: EVENT, payload: "next", qos: 1, id: 601 }));
    await camera.next(TYPE.puback);
    expect(performance.now() - started).toBeGreaterThan(900);
  });

  it("does not throttle other clients", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "10" } });
    const flooding = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH });
    flooding.send(flood(2000));
    // Waits until the allowed burst of 20 messages has arrived.
    await expect.poll(() => test.ingest.accepted.length).toBeGreaterThanOrEqual(20);
    const south = await test.client({ username: "south", password: SECRET });
    await south.publishAsync(topic("cameras/south/about"), "here", { qos: 1 });
    await south.publishAsync(topic("cameras/south/about"), "here", { qos: 1 });
    expect(test.ingest.accepted.length).toBeLessThan(500);
  });

  it("counts all connections of one user together", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "20" } });
    const password = test.token(["dashboard:read"]);
    const readers = await Promise.all(
      [1, 2, 3].map((n) => rawSession(test.broker.ports.mqtt, { clientId: `r${n}`, username: "r", password })),
    );
    const started = performance.now();
    for (const reader of readers)
      for (let n = 0; n < 25; n++) reader.send(subscribePacket([[topic("cameras/#"), 1]], n + 1));
    for (const reader of readers) for (let n = 0; n < 25; n++) await reader.next(TYPE.suback);
    expect(performance.now() - started).toBeGreaterThan(900);
  });

  it("counts subscriptions", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "20" } });
    const reader = await rawSession(test.broker.ports.mqtt, {
      ...{ clientId: "r", username: "r", password: test.token(["dashboard:read"]) },
    });
    const started = performance.now();
    for (let n = 0; n < 60; n++) reader.send(subscribePacket([[topic("cameras/#"), 1]], n + 1));
    for (let n = 0; n < 60; n++) await reader.next(TYPE.suback);
    expect(performance.now() - started).toBeGreaterThan(900);
  });

  it("resumes waiting clients in the order of their arrival", async () => {
    const pace = new RateLimiter({ ...UNLIMITED, messagesPerSecond: 100 });
    pace.spend(220, 0);
    const order: number[] = [];
    const ask = (n: number) => {
      pace.spend(10, 0);
      order.push(n);
    };
    for (let n = 0; n < 5; n++) expect(pace.openOr(() => ask(n))).toBe(false);
    await expect.poll(() => order.length).toBe(5);
    expect(order).toEqual([0, 1, 2, 3, 4]);
  });

  it("counts nothing without a limit", () => {
    const pace = new RateLimiter(UNLIMITED);
    pace.spend(1_000_000, 1_000_000_000);
    expect(pace.openOr(() => {})).toBe(true);
  });
});

describe("the bytes of one sender", () => {
  const large = (id: number) => publishPacket({ topic: EVENT, payload: "x".repeat(50_000), qos: 1, id });

  it("are read more slowly above MAX_MQTT_BYTES_PER_SECOND, and every message is acknowledged", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_BYTES_PER_SECOND: "100000" } });
    const camera = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH });
    const started = performance.now();
    for (let id = 1; id <= 8; id++) camera.send(large(id));
    for (let id = 1; id <= 8; id++) expect((await camera.next(TYPE.puback)).readUInt16BE(0)).toBe(id);
    // 400 kB at 100 kB a second, less the allowed burst of two seconds.
    expect(performance.now() - started).toBeGreaterThan(900);
  });

  it("are limited by the same counter after a reconnect", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_MESSAGES_PER_SECOND: "100" } });
    const ping = async (count: number) => {
      const camera = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH });
      for (let n = 0; n < count; n++) camera.send(packet(0xc0, Buffer.alloc(0)));
      for (let n = 0; n < count; n++) await camera.next(TYPE.pingresp);
      camera.socket.destroy();
      await camera.ended;
    };
    const started = performance.now();
    await ping(250);
    await ping(250);
    // The burst of 200 is allowed once. The other 300 take three seconds at 100 a second.
    expect(performance.now() - started).toBeGreaterThan(2_500);
  });

  it("stay unread beyond MAX_MQTT_PENDING_BYTES until the bytes before them are durable", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_PENDING_BYTES: "100000" } });
    const durable: (() => void)[] = [];
    test.ingest.answer = () => new Promise((resolve) => durable.push(() => resolve({ forward: true })));
    const camera = await rawSession(test.broker.ports.mqtt, { clientId: "n", ...NORTH });
    for (let id = 1; id <= 20; id++) camera.send(large(id));
    const south = await test.client({ username: "south", password: SECRET });
    south.publish(topic("cameras/south/about"), "here", { qos: 1 });
    const of = (identity: string) => test.ingest.accepted.filter((one) => one.identity === identity).length;
    await expect.poll(() => of("device:south")).toBe(1);
    expect(of("device:north")).toBeLessThan(6);
    const answering = setInterval(() => durable.shift()?.(), 1);
    onTestFinished(() => clearInterval(answering));
    for (let id = 1; id <= 20; id++) expect((await camera.next(TYPE.puback)).readUInt16BE(0)).toBe(id);
  });

  it("stay unread beyond MAX_MQTT_PENDING_BYTES at QoS 0, too", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_PENDING_BYTES: "100000" } });
    const durable: (() => void)[] = [];
    test.ingest.answer = () => new Promise((resolve) => durable.push(() => resolve({ forward: true })));
    const camera = await test.client(NORTH);
    for (let sent = 0; sent < 40; sent++) camera.publish(EVENT, "x".repeat(50_000), { qos: 0 });
    const south = await test.client({ username: "south", password: SECRET });
    south.publish(topic("cameras/south/about"), "here", { qos: 1 });
    const of = (identity: string) => test.ingest.accepted.filter((one) => one.identity === identity).length;
    await expect.poll(() => of("device:south")).toBe(1);
    expect(of("device:north")).toBeLessThan(6);
    const answering = setInterval(() => durable.shift()?.(), 1);
    onTestFinished(() => clearInterval(answering));
    await expect.poll(() => of("device:north")).toBe(40);
  });

  it("exclude retained messages when a session resumes its subscriptions, because the broker sends none", async () => {
    const dataPath = temporaryFolder();
    const login = { clientId: "r", clean: false, reconnectPeriod: 0, username: "r" };
    const first = await startTestBroker({ dataPath });
    const about = topic("cameras/north/about");
    await first.broker.publish({ topic: about, payload: Buffer.alloc(200_000), qos: 1, retain: true });
    const away = await first.client({ ...login, password: first.token(["admin"]) });
    await away.subscribeAsync(about, { qos: 1 });
    await away.endAsync();
    await first.broker.stop();
    // At this rate, the retained message would use up the limit for a quarter of an hour.
    const second = await startTestBroker({ dataPath, env: { MAX_MQTT_BYTES_PER_SECOND: "200" } });
    const back = await second.client({ ...login, password: second.token(["admin"]) });
    await back.publishAsync("house/light", "on", { qos: 1 });
  });

  it("include the retained messages of each new subscription, even of a repeated subscription", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_BYTES_PER_SECOND: "100000" } });
    const camera = await test.client(NORTH);
    const about = topic("cameras/north/about");
    await camera.publishAsync(about, "x".repeat(50_000), { qos: 1, retain: true });
    const login = { clientId: "r", username: "r", password: test.token(["dashboard:read"]) };
    const reader = await rawSession(test.broker.ports.mqtt, login);
    const started = performance.now();
    for (let n = 1; n <= 8; n++) reader.send(subscribePacket([[about, 1]], n));
    for (let n = 1; n <= 8; n++) await reader.next(TYPE.publish);
    expect(performance.now() - started).toBeGreaterThan(900);
  });
});

it("the broker disconnects a client with more than 1,000 unfinished QoS 2 messages", async () => {
  const { broker, logged } = await startTestBroker();
  const camera = await rawSession(broker.ports.mqtt, { clientId: "n", ...NORTH });
  for (let id = 1; id <= 1001; id++) camera.send(publishPacket({ topic: EVENT, payload: "x", qos: 2, id }));
  await camera.ended;
  await logged("maxInflightInbound exceeded");
});

it("the broker disconnects a client that sends 101 packets before its CONNACK", async () => {
  const { broker, token } = await startTestBroker({ verifyToken: () => new Promise(() => undefined) });
  const hasty = await rawClient(broker.ports.mqtt);
  const login = { clientId: "a", username: "a", password: token([]) };
  hasty.send(
    Buffer.concat([connectOf("north", login), ...Array.from({ length: 101 }, () => packet(0xc0, Buffer.alloc(0)))]),
  );
  await hasty.ended;
  expect(broker.stats().clients).toBe(0);
});

describe("mutual TLS", () => {
  function openssl(...args: string[]): void {
    execFileSync("openssl", args, { stdio: "pipe" });
  }

  /** A certificate authority. It signs certificates for a name and a period. */
  function authority(folder: string) {
    const at = (name: string) => join(folder, name);
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    openssl("req", "-x509", ...ec, "-days", "2", "-subj", "/CN=ca", "-keyout", at("ca.key"), "-out", at("ca.pem"));
    writeFileSync(at("index"), "");
    writeFileSync(at("serial"), "01");
    writeFileSync(
      at("ca.cnf"),
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${at("index")}\nserial=${at("serial")}\nnew_certs_dir=${folder}\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n`,
    );
    return {
      path: at("ca.pem"),
      sign(name: string, from: string, until: string) {
        openssl("req", ...ec, "-subj", `/CN=${name}`, "-keyout", at("key"), "-out", at("csr"));
        const files = ["-cert", at("ca.pem"), "-keyfile", at("ca.key"), "-in", at("csr"), "-out", at("crt")];
        openssl("ca", "-batch", "-notext", "-config", at("ca.cnf"), "-startdate", from, "-enddate", until, ...files);
        return { cert: readFileSync(at("crt")), key: readFileSync(at("key")) };
      },
    };
  }

  it("rejects certificates that are expired, not yet valid, from another authority or for an unknown name", async () => {
    const folder = temporaryFolder();
    const [ours, theirs] = [authority(folder), authority(temporaryFolder())];
    const [past, began, future, far] = ["20200101000000Z", "20210101000000Z", "20500101000000Z", "20510101000000Z"];
    const server = ours.sign("broker", began, future);
    for (const [name, pem] of Object.entries(server)) writeFileSync(join(folder, `server.${name}`), pem);
    const files = {
      TLS_CERT: join(folder, "server.cert"),
      TLS_KEY: join(folder, "server.key"),
      TLS_CLIENT_CA: ours.path,
    };
    const test = await startTestBroker({ env: files });
    await test.devices.add({ id: "seven", kind: "camera", credential: { certificateName: "camera-7" } });
    const url = `mqtts://127.0.0.1:${test.broker.ports.mqtts}`;
    const show = (certificate: object) => test.client({ url, rejectUnauthorized: false, ...certificate });
    await show(ours.sign("camera-7", began, future));
    expect(test.broker.clients().map(({ identity }) => identity)).toEqual(["device:seven"]);
    await expect(show(ours.sign("camera-7", past, began))).rejects.toThrow();
    await expect(show(ours.sign("camera-7", future, far))).rejects.toThrow();
    await expect(show(theirs.sign("camera-7", began, future))).rejects.toThrow();
    await expect(show(ours.sign("camera-8", began, future))).rejects.toMatchObject({ code: 5 });
    await expect(show({})).rejects.toThrow();
    expect(test.broker.stats().clients).toBe(1);
  });
});
