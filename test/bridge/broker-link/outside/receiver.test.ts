import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { connectAsync, type IClientOptions } from "mqtt";
import pino from "pino";
import { expect, it, onTestFinished } from "vitest";
import { outsideBrokerConfig, outsideBrokerSettings } from "../../../../bridge/broker-link/outside/config.ts";
import { inwardTopics } from "../../../../bridge/broker-link/outside/inward-topics.ts";
import { Receiver } from "../../../../bridge/broker-link/outside/receiver.ts";
import { topicTree } from "../../../../contract/topics.ts";
import { ConfigurationError, readEnvironment } from "../../../../platform/config.ts";
import { StoreUnavailableError } from "../../../../platform/errors.ts";
import type { IncomingPublication } from "../../../../platform/publications.ts";
import { type Mosquitto, type MosquittoOptions, startMosquitto } from "../../../support/mosquitto.ts";
import { cameraTopic } from "./camera-client.ts";

const MAX_PAYLOAD_BYTES = 1_000;
const TOPIC = cameraTopic("north", "events/capture.completed");

function configOf(env: Record<string, string>) {
  const config = outsideBrokerConfig(readEnvironment(outsideBrokerSettings, { env, readFile: () => "" }));
  if (config === undefined) throw new Error("MQTT_URL is missing");
  return config;
}

async function mosquittoOf(options?: MosquittoOptions): Promise<Mosquitto> {
  const mosquitto = await startMosquitto(options);
  onTestFinished(() => mosquitto.remove());
  return mosquitto;
}

interface Arrived extends IncomingPublication {
  text: string;
}

/** A receiver that stores in memory, and the events of its life. */
function receive(env: Record<string, string>, store: (arrived: Arrived) => Promise<void> = async () => {}) {
  const config = configOf(env);
  const arrived: Arrived[] = [];
  const lines: string[] = [];
  const happened: string[] = [];
  const receiver = new Receiver({
    ...{ config, clientId: "bridge", sessionExpiryS: 600, origin: "me", fence: { lease: "outside-broker", number: 1 } },
    ...{ topics: inwardTopics(topicTree(), config.version), maxPayloadBytes: MAX_PAYLOAD_BYTES },
    accept: async (publication) => {
      const entry = { ...publication, text: String(publication.payload) };
      arrived.push(entry);
      await store(entry);
    },
    isCurrentState: () => false,
    onUp: (_client, isResumed) => happened.push(isResumed ? "resumed" : "new session"),
    onDown: () => happened.push("down"),
    onCurrent: () => happened.push("current"),
    onRefused: () => {},
    onLeaseLost: () => {},
    logger: pino({ level: "info" }, { write: (line: string) => lines.push(line) }),
  });
  receiver.connection.open();
  onTestFinished(() => receiver.stop());
  return { receiver, arrived, lines, happened, texts: () => arrived.map(({ text }) => text) };
}

async function publisher(url: string, options: IClientOptions = {}) {
  const client = await connectAsync(url, { reconnectPeriod: 0, ...options });
  onTestFinished(() => void client.end(true));
  return client;
}

it.each(["5", "3.1.1"])(
  "a message that could not be stored comes again before all later ones, with MQTT %s",
  async (version) => {
    const mosquitto = await mosquittoOf();
    const stored: string[] = [];
    let refuse: ((error: Error) => void) | undefined;
    const env = { MQTT_URL: mosquitto.url, MQTT_VERSION: version };
    const { receiver, arrived, happened, texts } = receive(env, async ({ text }) => {
      if (text === "3" && refuse === undefined) await new Promise((_, reject) => (refuse = reject));
      stored.push(text);
    });
    await expect.poll(() => happened).toEqual(["new session", "current"]);
    const camera = await publisher(mosquitto.url);
    for (const text of ["1", "2", "3"]) await camera.publishAsync(TOPIC, text, { qos: 1 });
    await expect.poll(() => texts()).toContain("3");
    // The store takes these. They arrive before the store has refused the third one.
    for (const text of ["4", "5"]) await camera.publishAsync(TOPIC, text, { qos: 1 });
    await camera.publishAsync("elsewhere", "", { qos: 1 });
    refuse?.(new StoreUnavailableError("the disk is full"));
    await expect.poll(() => stored.slice(-3)).toEqual(["3", "4", "5"]);
    // Those before the third one may come again, as the connection was cut.
    expect([...new Set(stored)]).toEqual(["1", "2", "3", "4", "5"]);
    await expect.poll(() => happened.slice(0, 4)).toEqual(["new session", "current", "down", "resumed"]);
    expect(arrived.every(({ identity, qos }) => identity === "device:north" && qos === 1)).toBe(true);
    expect(receiver.counts.notAccepted).toBeGreaterThan(0);
  },
);

it("does not get what is far larger than the server accepts, and everything else", async () => {
  // Mosquitto must not count what it discards as waiting for an acknowledgement.
  const mosquitto = await mosquittoOf({ lines: () => ["max_inflight_messages 10"] });
  const { texts, happened } = receive({ MQTT_URL: mosquitto.url });
  await expect.poll(() => happened).toContain("current");
  const camera = await publisher(mosquitto.url);
  await camera.publishAsync(TOPIC, "first", { qos: 1 });
  const huge = Buffer.alloc(MAX_PAYLOAD_BYTES + 140_000, "x");
  for (let count = 0; count < 30; count++) await camera.publishAsync(TOPIC, huge, { qos: 1 });
  // The server itself refuses what is a little too large, and says so.
  await camera.publishAsync(TOPIC, "x".repeat(MAX_PAYLOAD_BYTES + 1), { qos: 1 });
  await camera.publishAsync(TOPIC, "last", { qos: 1 });
  await expect.poll(() => texts().at(-1)).toBe("last");
  expect(texts().map((text) => text.length)).toEqual([5, MAX_PAYLOAD_BYTES + 1, 4]);
  expect(happened).not.toContain("down");
});

it("messages are acknowledged only once they are stored, and what arrived together is stored together", async () => {
  const mosquitto = await mosquittoOf();
  const waiting = new Map<string, () => void>();
  const { receiver, texts, happened } = receive(
    { MQTT_URL: mosquitto.url },
    ({ text }) => new Promise<void>((resolve) => waiting.set(text, resolve)),
  );
  await expect.poll(() => happened).toContain("current");
  const checks = receiver.counts.acknowledged;
  const camera = await publisher(mosquitto.url);
  await camera.publishAsync(TOPIC, "1", { qos: 1 });
  await expect.poll(() => texts()).toEqual(["1"]);
  for (const text of ["2", "3"]) await camera.publishAsync(TOPIC, text, { qos: 1 });
  await camera.publishAsync("elsewhere", "", { qos: 1 });
  waiting.get("1")?.();
  await expect.poll(() => texts()).toEqual(["1", "2", "3"]);
  expect(receiver.counts.acknowledged).toBe(checks + 1);
  waiting.get("3")?.();
  // A round trip to the broker, during which PUBACKs would have been written.
  await camera.publishAsync("elsewhere", "", { qos: 1 });
  expect(receiver.counts.acknowledged).toBe(checks + 1);
  receiver.connection.cut("the test");
  await expect.poll(() => texts()).toEqual(["1", "2", "3", "2", "3"]);
  for (const text of ["2", "3"]) waiting.get(text)?.();
  await expect.poll(() => receiver.counts.acknowledged).toBe(checks + 1 + 3);
});

it("retained messages keep their flag, and the server's own messages are skipped", async () => {
  const mosquitto = await mosquittoOf();
  const camera = await publisher(mosquitto.url, { protocolVersion: 5 });
  await camera.publishAsync(cameraTopic("north", "about"), "{}", { qos: 1, retain: true });
  const { arrived, texts, happened } = receive({ MQTT_URL: mosquitto.url });
  await expect.poll(() => happened).toContain("current");
  expect(arrived).toMatchObject([{ topic: cameraTopic("north", "about"), retain: true }]);
  const broadcast = "skylapse/v1/channels/dashboard/events/lamp.on";
  const properties = { userProperties: { "skylapse-origin": "me" } };
  await camera.publishAsync(broadcast, "mine", { qos: 1, properties });
  await camera.publishAsync(cameraTopic("north", "state/presence"), "mine", { qos: 1, retain: true });
  await camera.publishAsync(cameraTopic("north", "commands/reboot"), "of another", { qos: 1 });
  await camera.publishAsync(broadcast, "of another", { qos: 1 });
  await camera.publishAsync(cameraTopic("north", "state/power"), "3", { qos: 1, retain: true });
  await expect.poll(() => texts()).toEqual(["{}", "of another", "3"]);
  expect(arrived.map(({ retain, identity }) => `${identity} ${retain}`)).toEqual([
    "device:north true",
    "mqtt false",
    "device:north true",
  ]);
});

it("connects over WebSocket, and over TLS with a client certificate and a password, which no log line contains", async () => {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { stdio: "ignore" });
  const mosquitto = await mosquittoOf({
    hasListener: false,
    lines: ({ folder, port }) => {
      const at = (name: string) => join(folder, name);
      const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
      const signed = ["-CA", at("ca.pem"), "-CAkey", at("ca.key")];
      openssl("req", "-x509", ...ec, "-subj", "/CN=authority", "-keyout", at("ca.key"), "-out", at("ca.pem"));
      for (const [name, extension] of [
        ["broker", "subjectAltName=IP:127.0.0.1"],
        ["bridge", "extendedKeyUsage=clientAuth"],
      ])
        openssl(
          ...["req", "-x509", ...ec, ...signed, "-subj", `/CN=${name}`, "-addext", extension ?? ""],
          ...["-keyout", at(`${name}.key`), "-out", at(`${name}.pem`)],
        );
      execFileSync("mosquitto_passwd", ["-c", "-b", at("passwords"), "skylapse", "a-password-of-the-bridge"]);
      return [
        "per_listener_settings true",
        ...[`listener ${port} 127.0.0.1`, `password_file ${at("passwords")}`, "allow_anonymous false"],
        ...[`cafile ${at("ca.pem")}`, `certfile ${at("broker.pem")}`, `keyfile ${at("broker.key")}`],
        "require_certificate true",
        ...[`listener ${port + 1} 127.0.0.1`, "protocol websockets", "allow_anonymous true"],
      ];
    },
  });
  const at = (name: string) => join(mosquitto.folder, name);
  const env = {
    ...{ MQTT_URL: `mqtts://127.0.0.1:${mosquitto.port}`, MQTT_CA: at("ca.pem"), MQTT_CERT: at("bridge.pem") },
    ...{ MQTT_KEY: at("bridge.key"), MQTT_USERNAME: "skylapse", MQTT_PASSWORD: "a-password-of-the-bridge" },
  };
  const good = receive(env);
  await expect.poll(() => good.happened).toEqual(["new session", "current"]);
  const bad = receive({ ...env, MQTT_PASSWORD: "a-wrong-password" });
  await expect.poll(() => bad.receiver.connection.downReason).toMatch(/not authori.*MQTT_USERNAME/i);
  const { MQTT_CERT: _cert, MQTT_KEY: _key, ...anonymous } = env;
  const stranger = receive(anonymous);
  await expect.poll(() => stranger.receiver.connection.downReason).not.toMatch("has not connected yet");
  expect([...good.lines, ...bad.lines].join("")).not.toMatch(/a-password-of|a-wrong-password/);
  const overWebSocket = receive({ MQTT_URL: `ws://127.0.0.1:${mosquitto.port + 1}` });
  await expect.poll(() => overWebSocket.happened).toContain("current");
});

it("refuses an address with credentials without showing them, and settings that do not suit each other", () => {
  const problemsOf = (env: Record<string, string>) => {
    try {
      configOf(env);
      return [];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      return error.problems;
    }
  };
  expect(problemsOf({ MQTT_URL: "mqtt://alice:hunter2@broker.example.org" })).toEqual([
    "MQTT_URL: must not contain a user name or password, which logs could show: use MQTT_USERNAME and MQTT_PASSWORD",
  ]);
  expect(problemsOf({ MQTT_URL: "http://broker.example.org" })[0]).toMatch(/^MQTT_URL: must be an address such as/);
  expect(problemsOf({ MQTT_URL: "mqtts://broker.example.org", MQTT_CERT: "/nowhere.pem" })).toEqual([
    "MQTT_CERT: must be set together with MQTT_KEY: a client certificate needs both files",
    expect.stringMatching(/^MQTT_CERT: cannot read \/nowhere.pem/),
  ]);
  expect(problemsOf({ MQTT_URL: "mqtt://broker.example.org", MQTT_CA: "/etc/hostname" })).toEqual([
    "MQTT_URL: must begin with mqtts:// or wss:// if MQTT_CA or MQTT_CERT is set",
  ]);
  expect(configOf({ MQTT_URL: "wss://broker.example.org/mqtt?signature=secret" }).place).toBe(
    "wss://broker.example.org/mqtt",
  );
});
