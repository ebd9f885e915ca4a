import { connect, type IClientOptions, type IPublishPacket } from "mqtt";
import { expect, onTestFinished, test } from "vitest";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { TIMEOUT_MS, WAIT_MS } from "../support/long-form.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const HEARTBEAT_MS = 100;
const EXPIRY_S = 1;
const WILL_DELAY_S = 2;
const FIELDS = { userProperties: { place: "roof" }, contentType: "text/plain", responseTopic: "answers" };

/** Connects, and collects what the session sends. */
async function open(url: string, clientId: string, { properties, ...options }: IClientOptions = {}) {
  const client = connect(url, {
    ...{ username: "alice", password: signToken("alice", ["admin"]), clientId, protocolVersion: 5, clean: false },
    ...{ reconnectPeriod: 0, properties: { sessionExpiryInterval: 3_600, ...properties } },
    ...options,
  });
  const received: IPublishPacket[] = [];
  client.on("message", (_topic, _payload, packet) => void received.push(packet));
  client.on("error", () => undefined);
  const isResumed = await new Promise<boolean>((resolve) => {
    client.once("connect", ({ sessionPresent }) => resolve(sessionPresent));
  });
  return { client, received, isResumed };
}

test(
  "what MQTT 5 adds outlives kill -9: properties, expiry, subscription options, the session's expiry and a will's delay",
  async () => {
    const dataPath = makeDataPath();
    onTestFinished(() => removeDataPath(dataPath));
    const env = {
      ...{ JWT_SECRET, WS_PORT: String(await freePort()), MQTT_PORT: String(await freePort()), SIMULATOR: "0" },
      ...{ MQTT_HEARTBEAT_MS: String(HEARTBEAT_MS), LOG_LEVEL: "warn" },
    };
    let skylapse: Skylapse = await startSkylapse({ dataPath, env });
    onTestFinished(async () => void (await skylapse.end("SIGKILL")));

    const reader = await open(skylapse.mqtt, "reader");
    const options = { qos: 1 as const, nl: true, rap: true, properties: { subscriptionIdentifier: 7 } };
    await reader.client.subscribeAsync("plant/#", options);
    await reader.client.publishAsync("plant/own", "own", { qos: 1 });
    await reader.client.endAsync();
    const short = await open(skylapse.mqtt, "short", { properties: { sessionExpiryInterval: EXPIRY_S } });
    await short.client.subscribeAsync("plant/#", { qos: 1 });
    await short.client.endAsync();
    const will = { topic: "plant/will", payload: Buffer.from("gone"), qos: 1 as const, retain: false };
    const willProperties = { willDelayInterval: WILL_DELAY_S, contentType: "text/plain" };
    const sender = await open(skylapse.mqtt, "sender", { will: { ...will, properties: willProperties } });
    const retain = { qos: 1 as const, retain: true };
    await sender.client.publishAsync("plant/a", "kept", { ...retain, properties: FIELDS });
    await sender.client.publishAsync("plant/b", "expired", {
      ...retain,
      properties: { messageExpiryInterval: EXPIRY_S },
    });
    await sender.client.publishAsync("plant/c", "later", { qos: 1, properties: { messageExpiryInterval: 3_600 } });
    sender.client.stream.destroy();
    await skylapse.end("SIGKILL");
    const restartAt = Date.now() + EXPIRY_S * 1_000;

    skylapse = await startSkylapse({ dataPath, env });
    await new Promise((resolve) => setTimeout(resolve, restartAt - Date.now()));
    const again = await open(skylapse.mqtt, "short", { properties: { sessionExpiryInterval: 0 } });
    expect(again.isResumed).toBe(false);
    await again.client.subscribeAsync(["plant/b", "plant/a"], { qos: 1 });
    await expect.poll(() => again.received.map(({ topic }) => topic)).toEqual(["plant/a"]);
    expect(again.received[0]?.properties).toMatchObject(FIELDS);
    await again.client.endAsync();

    const { client, received, isResumed } = await open(skylapse.mqtt, "reader");
    expect(isResumed).toBe(true);
    const topics = () => received.map(({ topic }) => topic);
    await expect.poll(topics, { timeout: WAIT_MS }).toEqual(["plant/a", "plant/c", "plant/will"]);
    const [kept, later, gone] = received;
    const subscriptionIdentifier = 7;
    expect(kept).toMatchObject({ retain: true, properties: { ...FIELDS, subscriptionIdentifier } });
    expect(later).toMatchObject({ retain: false, properties: { subscriptionIdentifier } });
    expect(later?.properties?.messageExpiryInterval).toBeLessThan(3_600);
    expect(gone).toMatchObject({ properties: { contentType: "text/plain", subscriptionIdentifier } });
    await client.endAsync();
    expect(skylapse.errors()).toBe("");
  },
  TIMEOUT_MS,
);
