import { connectAsync } from "mqtt";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { connectDashboard, type Dashboard, JWT_SECRET, openDashboard, signToken } from "../../../support/dashboard.ts";
import { type InProcessServer, startInProcessServer } from "../../../support/in-process-server.ts";
import { type Mosquitto, startMosquitto } from "../../../support/mosquitto.ts";
import { startRedis } from "../../../support/redis.ts";
import { makeDataPath, removeDataPath } from "../../../support/skylapse.ts";
import { CameraClient, cameraTopic, envelope } from "./camera-client.ts";

const ENV = { JWT_SECRET, PRESENCE_GRACE_MS: "300" };
const ADMIN = { authorization: `Bearer ${signToken("root", ["admin"])}`, "content-type": "application/json" };

const cleanUps: (() => Promise<unknown> | unknown)[] = [];
const dataPath = makeDataPath();
let mosquitto: Mosquitto;
let server: InProcessServer;

beforeAll(async () => {
  cleanUps.push(() => removeDataPath(dataPath));
  mosquitto = await startMosquitto({ isPersistent: true });
  cleanUps.push(() => mosquitto.remove());
  // Before the server knows the broker.
  const early = await connectAsync(mosquitto.url);
  const about = envelope({ event: "camera.about", data: { model: "early" } });
  await early.publishAsync(cameraTopic("early", "about"), about, { qos: 1, retain: true });
  await early.endAsync();
  server = await start();
  cleanUps.push(() => server.end());
});

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** Starts the server. Resolves when the server has read what waited at the broker. */
async function start(): Promise<InProcessServer> {
  const started = await startInProcessServer(dataPath, { ...ENV, MQTT_URL: mosquitto.url });
  await vi.waitUntil(async () => (await outsideStats(started)).current);
  return started;
}

async function outsideStats({ http }: InProcessServer) {
  const answer = await fetch(`${http}/stats`, { headers: ADMIN });
  return (await answer.json()).node.outside_broker;
}

async function cameraAt(id: string, session?: string): Promise<CameraClient> {
  const camera = await CameraClient.connect(mosquitto.url, id, session);
  onTestFinished(() => void camera.client.end(true));
  return camera;
}

async function dashboard() {
  const opened = await openDashboard(server.socket, signToken("alice", ["dashboard:read", "camera:control"]));
  onTestFinished(() => opened.close());
  return opened;
}

async function presenceOf(id: string): Promise<{ status: string; offline_since?: string }> {
  const answer = await fetch(`${server.http}/cameras/${id}`, { headers: ADMIN });
  return (await answer.json()).presence ?? {};
}

/** The retained message of the topic. */
async function retainedAt(topic: string, { url } = mosquitto): Promise<string | undefined> {
  const reader = await connectAsync(url);
  try {
    return await new Promise((resolve) => {
      reader.on("message", (_topic, payload) => resolve(String(payload)));
      // After the retained message, if there is one.
      reader.subscribeAsync([topic, "marker"], { qos: 1 }).then(() => reader.publish("marker", "", { qos: 1 }));
    });
  } finally {
    reader.end(true);
  }
}

function eventsOf({ messages }: Dashboard): string[] {
  return messages.flatMap((message) =>
    message.type === "dashboard_event" && message.snapshot !== true ? [message.event] : [],
  );
}

const statusOf = (id: string) => expect.poll(async () => (await presenceOf(id)).status);

it("the server shows events of cameras at another broker in their order, and what that broker retained before", async () => {
  const shown = await dashboard();
  const camera = await cameraAt("north");
  for (let n = 1; n <= 20; n++) void camera.event("capture.completed", { n });
  await shown.next("dashboard_event", ({ data }) => (data as { n?: number }).n === 20);
  const numbers = shown.messages.flatMap((message) =>
    message.type === "dashboard_event" && message.event === "capture.completed" && message.snapshot !== true
      ? [(message.data as { n: number }).n]
      : [],
  );
  expect(numbers).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  const early = await (await fetch(`${server.http}/cameras/early`, { headers: ADMIN })).json();
  expect(JSON.stringify(early)).toContain('"model":"early"');
});

it("the server publishes presence, its status and broadcasts at the other broker, and does not take them for new ones", async () => {
  const reader = await connectAsync(mosquitto.url);
  onTestFinished(() => void reader.end(true));
  const topics: string[] = [];
  reader.on("message", (topic) => topics.push(topic));
  await cameraAt("peak");
  await expect.poll(() => retainedAt(cameraTopic("peak", "state/presence"))).toContain('"online"');
  expect(await retainedAt("skylapse/v1/system/status")).toContain("skylapse-realtime");
  const broadcast = "skylapse/v1/channels/dashboard/events/lamp.on";
  await reader.subscribeAsync(broadcast, { qos: 1 });
  const shown = await dashboard();
  const body = JSON.stringify({ channel: "dashboard", message: { event: "lamp.on", data: { lamp: 1 } } });
  const answer = await fetch(`${server.http}/broadcast`, { method: "POST", headers: ADMIN, body });
  expect(answer.status).toBe(200);
  await expect.poll(() => topics).toEqual([broadcast]);
  // A broadcast of another client comes after the server's own one, which must not have come back.
  await reader.publishAsync("skylapse/v1/channels/dashboard/events/lamp.off", "{}", { qos: 1 });
  await shown.next("dashboard_event", ({ event }) => event === "lamp.off");
  expect(eventsOf(shown).filter((event) => event.startsWith("lamp"))).toEqual(["lamp.on", "lamp.off"]);
});

it("presence follows births and wills at the other broker, and ignores the will of an earlier session", async () => {
  const first = await cameraAt("gorge", "boot-1");
  await statusOf("gorge").toBe("online");
  // The next boot connects under another client id, so that the first will comes after the second birth.
  const second = await CameraClient.connect(mosquitto.url, "gorge", "boot-2", { clientId: "camera-gorge-2" });
  onTestFinished(() => void second.client.end(true));
  first.cut();
  await expect.poll(() => retainedAt(cameraTopic("gorge", "link"))).toContain('"offline"');
  await new Promise((resolve) => setTimeout(resolve, 900));
  expect((await presenceOf("gorge")).status).toBe("online");
  // Commands reach it, too.
  const body = JSON.stringify({ name: "capture.now", args: {} });
  void fetch(`${server.http}/cameras/gorge/commands`, { method: "POST", headers: ADMIN, body }).catch(() => {});
  await expect.poll(() => second.commands.length).toBe(1);
  second.cut();
  await statusOf("gorge").toBe("offline");
});

it("a camera is online again after a restart of the server, without a new birth, and offline if its will came meanwhile", async () => {
  const before = await dashboard();
  const { epoch = "", position = 0 } = await before.next("subscription_result");
  const since = { epoch, position };
  const stays = await cameraAt("stays");
  const leaves = await cameraAt("leaves");
  await statusOf("stays").toBe("online");
  await statusOf("leaves").toBe("online");
  await server.end();
  await stays.event("capture.completed", { n: 1 });
  leaves.cut();
  server = await start();
  await statusOf("stays").toBe("online");
  await statusOf("leaves").toBe("offline");
  const shown = await connectDashboard(server.socket);
  onTestFinished(() => shown.close());
  shown.send({ type: "auth", token: signToken("alice", ["dashboard:read"]) });
  await shown.next("auth_success");
  shown.send({ type: "subscribe", channel: "dashboard", since });
  await shown.next("dashboard_event", ({ event, camera }) => event === "capture.completed" && camera === "stays");
});

it("a command reaches a camera at the other broker, and is never called delivered before the camera answers", async () => {
  const camera = await cameraAt("tower");
  await statusOf("tower").toBe("online");
  const shown = await dashboard();
  shown.send({ type: "command", id: 1, camera: "tower", name: "capture.now", args: {}, expires_in: 30 });
  await expect.poll(() => camera.commands.length).toBe(1);
  const statuses = () =>
    shown.messages.flatMap((message) => (message.type === "command_result" ? [message.status] : []));
  expect(statuses()).toEqual(["sent"]);
  const { id } = JSON.parse(camera.commands[0]?.payload ?? "");
  const reply = envelope({ event: "command.reply", data: { command_id: id, status: "succeeded" } });
  await camera.publish("replies/capture.now", reply);
  await shown.next("command_result", ({ status }) => status === "succeeded");
  expect(statuses()).toEqual(["sent", "delivered", "succeeded"]);
});

it("/readyz, /stats, /metrics, dashboards and commands say that the other broker is lost, until it is back", async () => {
  const camera = await cameraAt("ridge");
  await statusOf("ridge").toBe("online");
  const shown = await dashboard();
  await mosquitto.stop();
  const readyz = async () => (await fetch(`${server.http}/readyz`)).json();
  await expect
    .poll(async () => (await readyz()).reason)
    .toMatch(/the MQTT broker at mqtt:\/\/127.0.0.1:\d+ cannot be reached/);
  expect((await fetch(`${server.http}/readyz`)).status).toBe(503);
  expect(await outsideStats(server)).toMatchObject({ connected: false, current: false });
  const metrics = await (await fetch(`${server.http}/metrics`, { headers: ADMIN })).text();
  expect(metrics).toContain("skylapse_outside_broker_connected 0");
  await shown.next("dashboard_event", ({ event, data }) => {
    const { status, reason } = data as { status?: string; reason?: string };
    return event === "system.status" && status === "degraded" && reason?.includes("cannot be reached") === true;
  });
  shown.send({ type: "command", id: 2, camera: "ridge", name: "capture.now", args: {} });
  const refused = await shown.next("command_result", ({ id }) => id === 2);
  expect(refused).toMatchObject({ status: "failed", code: 130, error: expect.stringContaining("cannot be reached") });
  // The camera is not called offline: nobody knows.
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect((await presenceOf("ridge")).status).toBe("online");
  camera.cut();
  await mosquitto.start();
  await expect.poll(async () => (await readyz()).status).toBe("ready");
  const back = await cameraAt("ridge", "boot-2");
  await back.event("capture.completed", { n: 1 });
  await shown.next("dashboard_event", ({ event, camera: from }) => event === "capture.completed" && from === "ridge");
  expect((await outsideStats(server)).lostSessions).toBe(0);
});

it("the loss of the server's session is shown and counted, and the broker gets the retained messages of the server again", async () => {
  const forgetful = await startMosquitto();
  onTestFinished(() => forgetful.remove());
  const path = makeDataPath();
  onTestFinished(() => removeDataPath(path));
  const own = await startInProcessServer(path, { ...ENV, MQTT_URL: forgetful.url });
  onTestFinished(() => own.end());
  await expect.poll(async () => (await outsideStats(own)).current).toBe(true);
  const camera = await CameraClient.connect(forgetful.url, "north");
  const back = await CameraClient.connect(forgetful.url, "south");
  const presence = async (id: string) => {
    const answer = await fetch(`${own.http}/cameras/${id}`, { headers: ADMIN });
    return (await answer.json()).presence?.status;
  };
  await expect.poll(() => presence("north")).toBe("online");
  await expect.poll(() => presence("south")).toBe("online");
  const shown = await openDashboard(own.socket, signToken("alice", ["dashboard:read"]));
  onTestFinished(() => shown.close());
  await forgetful.stop("SIGKILL");
  for (const { client } of [camera, back]) client.end(true);
  await forgetful.start();
  const again = await CameraClient.connect(forgetful.url, "south", "boot-1");
  onTestFinished(() => void again.client.end(true));
  const { data } = await shown.next("dashboard_event", ({ event }) => event === "error.occurred");
  expect(data).toMatchObject({ source: "mqtt-broker", error: expect.stringContaining("has lost the session") });
  expect((await outsideStats(own)).lostSessions).toBe(1);
  // The presence of this camera has not changed.
  await expect.poll(() => retainedAt(cameraTopic("south", "state/presence"), forgetful)).toContain('"online"');
  // The camera that does not come back has no will any more.
  await expect.poll(() => presence("north")).toBe("offline");
  expect(await presence("south")).toBe("online");
});

it("one of several nodes receives, every node shows events and sends commands, and another node continues when it stops", async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.remove());
  const node = async (id: string) => {
    const path = makeDataPath();
    onTestFinished(() => removeDataPath(path));
    const env = { MQTT_URL: mosquitto.url, REDIS_URL: redis.url, REDIS_PREFIX: "outside", MQTT_CLIENT_ID: "nodes" };
    const started = await startInProcessServer(path, {
      ...ENV,
      OPERATOR_KEY: "key-of-the-nodes-0123456789abcdef",
      ...env,
    });
    onTestFinished(() => started.end());
    await expect.poll(async () => (await outsideStats(started)).current, { message: id }).toBe(true);
    return started;
  };
  const first = await node("first");
  const second = await node("second");
  expect((await Promise.all([first, second].map(outsideStats))).map(({ receives }) => receives)).toEqual([true, false]);
  const camera = await cameraAt("glacier");
  const shown = await openDashboard(second.socket, signToken("alice", ["dashboard:read", "camera:control"]));
  onTestFinished(() => shown.close());
  for (let n = 1; n <= 5; n++) await camera.event("capture.completed", { n });
  await shown.next(
    "dashboard_event",
    ({ camera: from, data }) => from === "glacier" && (data as { n?: number }).n === 5,
  );
  shown.send({ type: "command", id: 1, camera: "glacier", name: "capture.now", args: {}, expires_in: 30 });
  await expect.poll(() => camera.commands.length).toBe(1);
  await first.end();
  // Nobody receives these until the second node has the lease.
  for (let n = 6; n <= 10; n++) await camera.event("capture.completed", { n });
  await shown.next(
    "dashboard_event",
    ({ camera: from, data }) => from === "glacier" && (data as { n?: number }).n === 10,
  );
  expect((await outsideStats(second)).receives).toBe(true);
  const numbers = shown.messages.flatMap((message) =>
    message.type === "dashboard_event" && message.event === "capture.completed" && message.snapshot !== true
      ? [(message.data as { n: number }).n]
      : [],
  );
  expect(numbers).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});
