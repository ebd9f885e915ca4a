import mqtt, { type MqttClient } from "mqtt";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { connectDashboard, JWT_SECRET, openDashboard, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { shiftedClock } from "../support/shifted-clock.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";
import { runCommand } from "../support/skylapse-command.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const DAY_MS = 86_400_000;
/** After this many appends the journal checks for expired entries. */
const APPENDS = 1_100;
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let dataPath: string;
let secret: string;
let server: Skylapse;

beforeEach(async () => {
  dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  secret = await addCamera(dataPath, "north");
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(shiftMs: number): Promise<void> {
  const NODE_OPTIONS = shiftedClock(dataPath, shiftMs);
  server = await startSkylapse({ dataPath, env: { OPERATOR_KEY, JWT_SECRET, LOG_LEVEL: "warn", NODE_OPTIONS } });
  const { end } = server;
  cleanUps.push(() => end());
}

/** Connects the camera with its stored session. @returns whether the broker still had the session */
async function connect(): Promise<{ camera: MqttClient; sessionPresent: boolean }> {
  const camera = mqtt.connect(server.mqtt, {
    ...{ clientId: "camera-north", username: "north", password: secret, clean: false, reconnectPeriod: 0 },
  });
  cleanUps.push(() => camera.endAsync(true));
  const sessionPresent = await new Promise<boolean>((resolve, reject) => {
    camera.once("connect", (packet) => resolve(packet.sessionPresent));
    camera.once("error", reject);
  });
  return { camera, sessionPresent };
}

async function publish(camera: MqttClient, count: number): Promise<void> {
  const say = (n: number) =>
    camera.publishAsync("skylapse/v1/cameras/north/events/counted", JSON.stringify({ n }), { qos: 1 });
  for (let n = 0; n < count; n += 100)
    await Promise.all(Array.from({ length: Math.min(100, count - n) }, (_, index) => say(n + index)));
}

async function ask(path: string, body?: object) {
  const answer = await fetch(`${server.http}${path}`, {
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
  });
  return answer.json();
}

const command = (...args: string[]) => runCommand({ OPERATOR_KEY, SKYLAPSE_URL: server.http }, args);

it("the server removes nothing when the system clock jumps eight days ahead, and expires data once an operator accepts the jump", {
  timeout: 180_000,
}, async () => {
  await start(0);
  const first = await connect();
  await first.camera.subscribeAsync("skylapse/v1/cameras/north/commands/+", { qos: 1 });
  const dashboard = await openDashboard(server.socket, signToken("alice", ["dashboard:read"]));
  const { epoch = "", position = 0 } = await dashboard.next("subscription_result");
  await dashboard.close();
  await publish(first.camera, 5);
  await first.camera.endAsync();
  await server.end();

  await start(8 * DAY_MS);
  const { camera, sessionPresent } = await connect();
  expect(sessionPresent).toBe(true);
  await publish(camera, APPENDS);
  expect(await recovered({ epoch, position })).toBe(true);
  const ready = await ask("/readyz");
  expect(ready.clock).toMatchObject({ ahead_seconds: expect.any(Number), message: expect.stringContaining("8 d") });
  expect(server.output()).toContain(ready.clock.message);
  const { jump } = await ask("/clock");
  expect(jump).toEqual(ready.clock);
  const shown = await command("clock");
  expect(shown.output).toContain(ready.clock.message);
  const { output } = await command("doctor");
  expect(output).toContain(ready.clock.message);

  const { code, errors } = await command("clock", "accept");
  expect([code, errors]).toEqual([0, ""]);
  expect((await ask("/readyz")).clock).toBeUndefined();
  await publish(camera, APPENDS);
  await vi.waitFor(async () => expect(await recovered({ epoch, position })).toBe(false));
});

it("the server keeps the newest entries when the system clock jumps fourteen days back", async () => {
  await start(0);
  const first = await connect();
  await publish(first.camera, 5);
  await first.camera.endAsync();
  await server.end();
  await start(-14 * DAY_MS);
  expect((await ask("/clock")).jump).toMatchObject({ message: expect.stringContaining("14 d behind") });
  const { code, output } = await command("clock", "accept");
  expect([code, output]).toEqual([0, expect.stringMatching(/^confirmed: -1209\d{3} s$/)]);
  expect((await ask("/clock")).jump).toBeUndefined();
});

/** Whether everything after the position can still be read. */
async function recovered(since: { epoch: string; position: number }): Promise<boolean | undefined> {
  // The server issues the token, because the token must be valid by the server's own clock.
  const { token } = await ask("/auth/token", { user_id: "bob", permissions: ["dashboard:read"] });
  const dashboard = await connectDashboard(server.socket);
  try {
    dashboard.send({ type: "auth", token });
    await dashboard.next("auth_success");
    dashboard.send({ type: "subscribe", channel: "dashboard", since });
    return (await dashboard.next("subscription_result")).recovered;
  } finally {
    await dashboard.close();
  }
}
