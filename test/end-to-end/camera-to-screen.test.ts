import mqtt from "mqtt";
import { afterEach, describe, expect, it } from "vitest";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import {
  makeDataPath,
  removeDataPath,
  type Skylapse,
  type SkylapseOptions,
  startSkylapse,
} from "../support/skylapse.ts";

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(options: SkylapseOptions = {}): Promise<Skylapse> {
  let { dataPath } = options;
  if (dataPath === undefined) {
    const made = makeDataPath();
    dataPath = made;
    cleanUps.push(() => removeDataPath(made));
  }
  const skylapse = await startSkylapse({ ...options, dataPath, env: { JWT_SECRET, ...options.env } });
  cleanUps.push(() => skylapse.end("SIGKILL"));
  return skylapse;
}

async function watch(skylapse: Skylapse, permissions: string[], channel = "dashboard"): Promise<Dashboard> {
  const dashboard = await openDashboard(skylapse.socket, signToken("alice", permissions), channel);
  cleanUps.push(() => dashboard.socket.terminate());
  return dashboard;
}

const SIMULATED = { SIMULATOR: "1", CAPTURE_INTERVAL_S: "1" };

describe("the system from the camera to the screen", () => {
  it("delivers a capture's event and preview to the dashboard and serves the picture by HTTP", async () => {
    const skylapse = await start({ env: SIMULATED });
    const dashboard = await watch(skylapse, ["dashboard:read", "camera:read"]);
    const captured = await dashboard.next(
      "dashboard_event",
      ({ event, snapshot }) => event === "capture.completed" && snapshot !== true,
    );
    expect(captured).toMatchObject({
      camera: "north",
      channel: "dashboard",
      data: { capture: expect.any(String), width: expect.any(Number) },
    });
    expect(captured.timestamp).toMatch(/Z$/);
    const preview = await dashboard.next("dashboard_event", ({ event }) => event === "preview.updated");
    const { url, etag } = preview.data as { url: string; etag: string };
    const headers = { authorization: `Bearer ${signToken("alice", ["dashboard:read", "camera:read"])}` };
    const picture = await fetch(new URL(url, skylapse.http), { headers });
    expect(picture.headers.get("content-type")).toBe("image/jpeg");
    expect([...new Uint8Array(await picture.arrayBuffer()).slice(0, 3)]).toEqual([0xff, 0xd8, 0xff]);
    expect(etag).toBeTruthy();
    expect((await fetch(new URL(url, skylapse.http))).status).toBe(401);
  });

  it("sends a new dashboard the current state, then the live events", async () => {
    const skylapse = await start({ env: SIMULATED });
    await (await watch(skylapse, ["dashboard:read"])).next(
      "dashboard_event",
      ({ event }) => event === "preview.updated",
    );
    const late = await watch(skylapse, ["dashboard:read"]);
    const about = await late.next("dashboard_event", ({ event }) => event === "camera.about");
    expect(about).toMatchObject({ snapshot: true, camera: "north" });
    const presence = await late.next("dashboard_event", ({ topic }) => topic === "cameras/north/state/presence");
    expect(presence).toMatchObject({ snapshot: true, event: "camera.online", data: { status: "online" } });
    await late.next("dashboard_event", ({ event, snapshot }) => event === "capture.completed" && snapshot !== true);
  });

  it("relays a command to the camera and its answer to the dashboard", async () => {
    const skylapse = await start({ env: { SIMULATOR: "1", CAPTURE_INTERVAL_S: "3600" } });
    const dashboard = await watch(skylapse, ["dashboard:read", "camera:control"]);
    await dashboard.next(
      "dashboard_event",
      ({ topic, event }) => topic === "cameras/north/state/presence" && event === "camera.online",
    );
    dashboard.send({ type: "command", id: 7, camera: "north", name: "capture.now" });
    const answered = await dashboard.next("command_result", ({ status }) => status === "succeeded");
    expect(answered).toMatchObject({ id: 7, command_id: expect.any(String), result: { capture: expect.any(String) } });
    const { capture } = answered.result as { capture: string };
    await dashboard.next(
      "dashboard_event",
      ({ event, data }) => event === "capture.completed" && (data as { capture: string }).capture === capture,
    );
    const statuses = dashboard.messages.flatMap((message) =>
      message.type === "command_result" ? [message.status] : [],
    );
    expect(statuses).toEqual(["sent", "delivered", "accepted", "succeeded"]);
  });

  it("rejects a command to an absent camera at once, and a command without permission", async () => {
    const skylapse = await start();
    const dashboard = await watch(skylapse, ["dashboard:read", "camera:south:control"]);
    dashboard.send({ type: "command", id: 1, camera: "south", name: "reboot" });
    expect(await dashboard.next("command_result", ({ id }) => id === 1)).toMatchObject({ status: "failed", code: 120 });
    dashboard.send({ type: "command", id: 2, camera: "north", name: "reboot" });
    expect(await dashboard.next("command_result", ({ id }) => id === 2)).toMatchObject({
      status: "rejected",
      code: 103,
    });
  });

  it("delivers the progress of processing jobs", async () => {
    const skylapse = await start({ env: SIMULATED });
    const dashboard = await watch(skylapse, ["jobs:read"], "jobs");
    const progress = await dashboard.next("dashboard_event", ({ event }) => event === "job.progress");
    expect(progress).toMatchObject({
      channel: "jobs",
      data: { status: expect.any(String), progress: expect.any(Number) },
    });
    await dashboard.next("dashboard_event", ({ event }) => event === "job.completed");
  });

  it("lets any MQTT client with a token read exactly what its permissions allow", async () => {
    const skylapse = await start({ env: SIMULATED });
    const client = await mqtt.connectAsync(skylapse.mqtt, {
      username: "alice",
      password: signToken("alice", ["camera:north:read"]),
    });
    cleanUps.push(() => client.endAsync(true));
    const granted = await client.subscribeAsync("skylapse/v1/cameras/north/#", { qos: 1 });
    expect(granted[0]?.qos).toBe(1);
    const topic = await new Promise<string>((resolve) => client.once("message", resolve));
    expect(topic).toMatch(/^skylapse\/v1\/cameras\/north\//);
    await expect(client.subscribeAsync("skylapse/v1/#")).rejects.toThrow();
  });

  it("keeps every acknowledged event after a kill", async () => {
    const dataPath = makeDataPath();
    cleanUps.push(() => removeDataPath(dataPath));
    const first = await start({ dataPath });
    const publisher = await mqtt.connectAsync(first.mqtt, {
      username: "root",
      password: signToken("root", ["admin"]),
      reconnectPeriod: 0,
    });
    cleanUps.push(() => publisher.endAsync(true));
    const dashboard = await watch(first, ["dashboard:read"]);
    await publisher.publishAsync("skylapse/v1/cameras/north/events/capture.completed", '{"n":0}', { qos: 1 });
    const seen = await dashboard.next("dashboard_event", ({ event }) => event === "capture.completed");
    const { epoch } = await dashboard.next("subscription_result");
    for (let n = 1; n <= 20; n++)
      await publisher.publishAsync("skylapse/v1/cameras/north/events/capture.completed", JSON.stringify({ n }), {
        qos: 1,
      });
    await first.end("SIGKILL");

    const second = await start({ dataPath });
    const back = await watch(second, ["dashboard:read"], "dashboard");
    back.send({ type: "unsubscribe", channel: "dashboard" });
    await back.next("unsubscription_result");
    back.messages.length = 0;
    back.send({ type: "subscribe", channel: "dashboard", since: { epoch: epoch ?? "", position: seen.position } });
    expect(await back.next("subscription_result")).toMatchObject({ success: true, recovered: true });
    await back.next("caught_up");
    const missed = back.messages.flatMap((message) =>
      message.type === "dashboard_event" && message.event === "capture.completed"
        ? [(message.data as { n: number }).n]
        : [],
    );
    expect(missed).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  });
});
