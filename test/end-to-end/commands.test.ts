import mqtt, { type MqttClient } from "mqtt";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { type Command, commandReplySchema, commandSchema, FINAL_COMMAND_STATUSES } from "../../contract/commands.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";
import { BadLink } from "../support/bad-link.ts";
import { type CameraProgram, startCameraProgram } from "../support/camera-program.ts";
import { type Dashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let skylapse: Skylapse;
let link: BadLink;
let camera: CameraProgram;
let dashboard: Dashboard;
/** Receives every command and every reply, and can send commands. */
let control: MqttClient;
const heard: { topic: string; content: unknown }[] = [];
let requests = 0;

beforeAll(async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const secret = await addCamera(dataPath, "north");
  skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, LOG_LEVEL: "warn", MAX_COMMANDS_PER_MINUTE: "0" } });
  cleanUps.push(() => skylapse.end());
  dashboard = await openDashboard(skylapse.socket, signToken("alice", ["dashboard:read", "camera:control"]));
  cleanUps.push(() => dashboard.close());
  control = await mqtt.connectAsync(skylapse.mqtt, { username: "root", password: signToken("root", ["admin"]) });
  cleanUps.push(() => control.endAsync(true));
  control.on("message", (topic, payload) => heard.push({ topic, content: JSON.parse(String(payload)) }));
  await control.subscribeAsync(["commands/+", "replies/+"].map((part) => `skylapse/v1/cameras/north/${part}`));
  link = await BadLink.open(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => link.close());
  const brokerUrl = `mqtt://127.0.0.1:${link.port}`;
  camera = await startCameraProgram({ brokerUrl, secret, env: { CAPTURE_INTERVAL_S: "86400" } });
  cleanUps.push(() => camera.end());
  await isBack();
});

afterEach(() => camera.camera("work"));

afterAll(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type Update = Extract<ServerMessage, { type: "command_result" }>;

interface Given {
  updates(): Update[];
  end: Promise<Update>;
}

/** Sends a command from the dashboard. */
function give(name: string, args: Record<string, unknown> = {}, expires_in = 30): Given {
  const request = ++requests;
  dashboard.send({ type: "command", id: request, camera: "north", name, args, expires_in });
  return {
    updates: () =>
      dashboard.messages.filter(
        (message): message is Update => message.type === "command_result" && message.id === request,
      ),
    end: dashboard.next("command_result", ({ id, status }) => id === request && FINAL_COMMAND_STATUSES.has(status)),
  };
}

const statuses = ({ updates }: Given) => updates().map(({ status }) => status);

async function post(body: object, query = ""): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${skylapse.http}/cameras/north/commands${query}`, {
    method: "POST",
    headers: { authorization: `Bearer ${signToken("bob", ["camera:control"])}` },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

/** Resolves when a command reaches the camera. */
async function isBack(): Promise<void> {
  await vi.waitFor(async () => expect((await post({ name: "settings.set", args: { iso: 100 } })).status).toBe(200), {
    interval: 100,
  });
}

function repliesTo(id: string) {
  return heard
    .filter(({ topic }) => topic.includes("/replies/"))
    .map(({ content }) => commandReplySchema.parse(z.object({ data: z.unknown() }).parse(content).data))
    .filter(({ command_id }) => command_id === id);
}

describe("a command, from the dashboard to the camera and back", () => {
  it("is sent, delivered, accepted and succeeds, and its picture exists", async () => {
    const given = give("capture.now");
    const { command_id, result } = await given.end;
    expect(statuses(given)).toEqual(["sent", "delivered", "accepted", "succeeded"]);
    expect(new Set(given.updates().map((update) => update.command_id))).toEqual(new Set([command_id]));
    const { capture } = z.object({ capture: z.string() }).parse(result);
    expect(camera.captures().at(-1)).toBe(capture);
    await dashboard.next(
      "dashboard_event",
      ({ event, data }) =>
        event === "capture.completed" && z.object({ capture: z.string() }).parse(data).capture === capture,
    );
    const posted = await post({ name: "capture.now" });
    expect(posted).toMatchObject({
      status: 200,
      body: { status: "succeeded", result: { capture: expect.any(String) } },
    });
  });

  it("fails with the camera's reason when the camera fails", async () => {
    camera.camera("fail");
    const given = give("capture.now");
    expect(await given.end).toMatchObject({ status: "failed", error: expect.stringContaining("the lens cap is on") });
    expect(statuses(given)).toEqual(["sent", "delivered", "accepted", "failed"]);
    expect(await post({ name: "capture.now" })).toMatchObject({ status: 200, body: { status: "failed" } });
  });

  it("is rejected with 122 by a camera that does not know the command, and by the server for invalid arguments", async () => {
    const given = give("heater.on", { watts: 5 });
    expect(await given.end).toMatchObject({ status: "rejected", code: 122 });
    expect(statuses(given)).toEqual(["sent", "delivered", "rejected"]);
    expect(await post({ name: "heater.on" })).toMatchObject({ status: 200, body: { status: "rejected", code: 122 } });
    const wrong = give("settings.set", { iso: -1 });
    expect(await wrong.end).toMatchObject({ status: "rejected", code: 107, error: expect.stringContaining("iso") });
    expect(statuses(wrong)).toEqual(["rejected"]);
    expect((await post({ name: "settings.set", args: { iso: -1 } })).status).toBe(400);
    // A sender by MQTT gets the camera's own answer.
    await publish({ ...newCommand("settings.set"), args: { iso: -1 } });
    await expect.poll(() => repliesTo("by-mqtt")).toMatchObject([{ status: "rejected", error: /iso/ }]);
  });

  it("times out with 121 when the camera accepts the command and does not finish", async () => {
    camera.camera("hang");
    const given = give("capture.now", {}, 4);
    expect(await given.end).toMatchObject({ status: "timed_out", code: 121 });
    expect(statuses(given)).toEqual(["sent", "delivered", "accepted", "timed_out"]);
  });

  it("expires with 123 while it waits for the end of another command", async () => {
    camera.camera("hang");
    const first = give("capture.now");
    const given = give("settings.set", { iso: 200 }, 1);
    const posted = await post({ name: "settings.set", args: { iso: 200 }, expires_in: 1 });
    expect(posted).toMatchObject({ status: 200, body: { status: "expired", code: 123 } });
    expect(await given.end).toMatchObject({ status: "expired", code: 123 });
    expect(statuses(given)).toEqual(["expired"]);
    camera.camera("work");
    expect(await first.end).toMatchObject({ status: "succeeded" });
  });

  it("expires with 123 on a silent link and is not reported as delivered", async () => {
    link.silent = true;
    const given = give("settings.set", { iso: 400 }, 1);
    expect(await given.end).toMatchObject({ status: "expired", code: 123 });
    expect(statuses(given)).toEqual(["sent", "expired"]);
    link.silent = false;
    await isBack();
  });

  it("is sent again on the next link if the first link was silent, and is carried out", async () => {
    link.silent = true;
    const given = give("capture.now");
    await expect.poll(() => statuses(given)).toEqual(["sent"]);
    link.silent = false;
    expect(await given.end).toMatchObject({ status: "succeeded" });
    expect(statuses(given)).toEqual(["sent", "delivered", "accepted", "succeeded"]);
  });

  it("fails at once with 120 when the camera is offline", async () => {
    link.down = true;
    await expect.poll(async () => (await post({ name: "reboot", expires_in: 1 })).status).toBe(409);
    const given = give("reboot");
    expect(await given.end).toMatchObject({ status: "failed", code: 120 });
    expect(statuses(given)).toEqual(["failed"]);
    link.down = false;
    await isBack();
  });

  it("is carried out once, however often the camera receives it, even after a restart of the camera", async () => {
    const { command_id = "" } = await give("capture.now").end;
    const command = heard
      .filter(({ topic }) => topic.includes("/commands/"))
      .map(({ content }) => commandSchema.parse(content))
      .find(({ id }) => id === command_id);
    if (command === undefined) throw new Error("the command was not heard");
    command.expires_at = new Date(Date.now() + 600_000).toISOString();
    const taken = camera.captures();
    await publish(command);
    await expect
      .poll(() => repliesTo(command_id).map(({ status }) => status))
      .toEqual(["accepted", "succeeded", "succeeded"]);
    await camera.restart();
    await isBack();
    await publish(command);
    await expect.poll(() => repliesTo(command_id)).toHaveLength(4);
    const [, first, ...others] = repliesTo(command_id);
    for (const other of others) expect(other).toEqual(first);
    expect(camera.captures()).toEqual(taken);
  });
});

function newCommand(name: string): Command {
  const [issued_at, expires_at] = [0, 30_000].map((ms) => new Date(Date.now() + ms).toISOString());
  return { id: "by-mqtt", name, args: {}, issued_by: "root", issued_at: issued_at ?? "", expires_at: expires_at ?? "" };
}

async function publish(command: Command): Promise<void> {
  const topic = `skylapse/v1/cameras/north/commands/${command.name}`;
  await control.publishAsync(topic, JSON.stringify(command), { qos: 1 });
}
