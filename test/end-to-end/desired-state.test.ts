import { connectAsync, type MqttClient } from "mqtt";
import { afterEach, beforeEach, expect, it } from "vitest";
import { z } from "zod";
import { commandSchema } from "../../contract/commands.ts";
import { type DesiredState, desiredStateSchema } from "../../contract/desired.ts";
import { startCameraProgram } from "../support/camera-program.ts";
import { JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const MORNING = { entries: [{ kind: "clock", start: "06:00", end: "09:00", interval_s: 60 }] };
const EVENING = { entries: [{ kind: "solar", anchor: "sunset", offset_min: -30, duration_min: 60, interval_s: 30 }] };
const wait = { interval: 100 };
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let dataPath: string;
let secret: string;
let skylapse: Skylapse;

beforeEach(async () => {
  dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  secret = await addCamera(dataPath, "north");
  skylapse = await startServer();
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function startServer(): Promise<Skylapse> {
  const env = { JWT_SECRET, LOG_LEVEL: "warn", PRESENCE_GRACE_MS: "300", ARCHIVE: "on" };
  const started = await startSkylapse({ dataPath, env });
  cleanUps.push(() => started.end());
  return started;
}

async function call(method: string, path: string, body?: object, user = "alice") {
  const permissions = ["dashboard:read", "camera:control"];
  const answer = await fetch(`${skylapse.http}${path}`, {
    method,
    headers: { authorization: `Bearer ${signToken(user, permissions)}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}

const shownSchema = z.object({
  states: z.object({ desired: z.object({ data: desiredStateSchema }).optional() }),
});

async function desired(): Promise<DesiredState | undefined> {
  return shownSchema.parse((await call("GET", "/cameras/north")).body).states.desired?.data;
}

const statusOf = async (name: keyof DesiredState) => (await desired())?.[name]?.status;

/** Everybody's commands for the camera, as an administrator hears them. */
async function heardCommands(): Promise<{ name: string; by: string }[]> {
  const client: MqttClient = await connectAsync(skylapse.mqtt, {
    ...{ username: "root", password: signToken("root", ["admin"]) },
  });
  cleanUps.push(() => client.endAsync(true));
  const heard: { name: string; by: string }[] = [];
  client.on("message", (_, payload) => {
    const { name, issued_by: by } = commandSchema.parse(JSON.parse(String(payload)));
    heard.push({ name, by });
  });
  await client.subscribeAsync("skylapse/v1/cameras/north/commands/+");
  return heard;
}

function startCamera() {
  const camera = startCameraProgram({ brokerUrl: skylapse.mqtt, secret, env: { CAPTURE_INTERVAL_S: "86400" } });
  cleanUps.push(async () => (await camera).end());
  return camera;
}

it("the server keeps a schedule for a camera that never came, also after a crash, and sends the schedule once", async () => {
  expect((await call("PUT", "/cameras/north/schedule", MORNING)).body).toMatchObject({ version: 1, by: "user:alice" });
  await expect.poll(() => statusOf("schedule"), wait).toBe("pending");
  await skylapse.end("SIGKILL");
  skylapse = await startServer();
  expect(await desired()).toMatchObject({
    schedule: { version: 1, value: MORNING, by: "user:alice", status: "pending" },
  });

  const heard = await heardCommands();
  const dashboard = await openDashboard(skylapse.socket, signToken("bob", ["dashboard:read"]));
  cleanUps.push(() => dashboard.close());
  const applied = dashboard.next("dashboard_event", ({ topic, data }) => {
    const state = topic === "cameras/north/state/desired" ? desiredStateSchema.safeParse(data).data : undefined;
    return state?.schedule?.status === "applied";
  });
  const camera = await startCamera();
  await applied;
  expect(heard).toEqual([{ name: "schedule.set", by: "user:alice" }]);
  const reported = (await call("GET", "/cameras/north")).body.states.schedule.data;
  expect(reported).toMatchObject({ ...MORNING, cause: { kind: "command", by: "user:alice" } });

  // A restart of the camera, which keeps its schedule, sends nothing. `sent` shows that the time to send has passed.
  await camera.restart();
  await expect
    .poll(async () => (await call("GET", "/cameras/north")).body.states.schedule.data.cause, wait)
    .toEqual({
      kind: "restart",
    });
  expect((await call("PUT", "/cameras/north/settings", { iso: 400 })).status).toBe(200);
  await expect.poll(() => statusOf("settings"), wait).toBe("applied");
  expect(heard.map(({ name }) => name)).toEqual(["schedule.set", "settings.set"]);

  // Another card: the camera has forgotten everything.
  await camera.end();
  await startCamera();
  await expect.poll(() => heard.length, wait).toBe(4);
  await expect
    .poll(async () => [await statusOf("schedule"), await statusOf("settings")], wait)
    .toEqual(["applied", "applied"]);
});

it("a command of somebody else becomes the desired state, is not undone, and is in the history with its sender", async () => {
  const camera = await startCamera();
  await call("PUT", "/cameras/north/schedule", MORNING);
  await expect.poll(() => statusOf("schedule"), wait).toBe("applied");
  const heard = await heardCommands();
  const direct = { name: "schedule.set", args: EVENING };
  expect((await call("POST", "/cameras/north/commands?wait=30", direct, "bob")).body.status).toBe("succeeded");
  await expect.poll(desired, wait).toMatchObject({
    schedule: { version: 2, value: EVENING, by: "user:bob", status: "applied" },
  });
  await camera.restart();
  await call("PUT", "/cameras/north/settings", { quality: 80 });
  await expect.poll(() => statusOf("settings"), wait).toBe("applied");
  expect(heard.map(({ name }) => name)).toEqual(["schedule.set", "settings.set"]);

  const issued = async () => {
    const { events } = (await call("GET", "/commands?camera=north&event=command.issued")).body;
    return events.map(({ data }: { data: { name: string; issued_by: string } }) => [data.name, data.issued_by]);
  };
  await expect.poll(issued, wait).toEqual([
    ["settings.set", "user:alice"],
    ["schedule.set", "user:bob"],
    ["schedule.set", "user:alice"],
  ]);
});

it("the server refuses what no camera takes, and cameras that nobody knows", async () => {
  const wrong = { entries: [{ kind: "clock", start: "25:00", end: "26:00", interval_s: 5 }] };
  expect((await call("PUT", "/cameras/north/schedule", wrong)).status).toBe(400);
  expect((await call("PUT", "/cameras/north/settings", {})).status).toBe(400);
  expect((await call("PUT", "/cameras/nobody/schedule", MORNING)).status).toBe(404);
});
