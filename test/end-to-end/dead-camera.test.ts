import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { startCameraProgram } from "../support/camera-program.ts";
import { addCamera } from "../support/devices.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const OPERATOR_KEY = "operator-key-of-the-tests";
const cleanUps: (() => Promise<unknown> | unknown)[] = [];
let dataPath: string;
let server: Skylapse;

beforeEach(() => {
  dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function start(): Promise<void> {
  server = await startSkylapse({
    dataPath,
    env: { OPERATOR_KEY, PRESENCE_GRACE_MS: "500", ALERT_OFFLINE_SECONDS: "2", LOG_LEVEL: "warn" },
  });
  cleanUps.push(() => server.end());
}

async function camera(id: string) {
  const answer = await fetch(`${server.http}/cameras/${id}`, { headers: { authorization: `Bearer ${OPERATOR_KEY}` } });
  const { presence = {}, alerts = {} } = await answer.json();
  return { presence, alerts };
}

it("the server raises an alert when the camera program is killed, and keeps the time of the loss even when it is killed itself", async () => {
  const secret = await addCamera(dataPath, "north");
  await start();
  expect((await camera("north")).presence).toMatchObject({ status: "never_seen" });
  const program = await startCameraProgram({ brokerUrl: server.mqtt, secret });
  cleanUps.push(() => program.end());
  await vi.waitFor(async () => expect((await camera("north")).presence.status).toBe("online"));

  const killedAt = Date.now();
  program.process.kill("SIGKILL");
  await vi.waitFor(async () => expect((await camera("north")).alerts).toHaveProperty("offline"));
  const { presence: before } = await camera("north");
  expect(before.status).toBe("offline");
  expect(Date.parse(before.offline_since)).toBeGreaterThanOrEqual(killedAt - 1000);
  expect(Date.parse(before.last_heard_at)).toBeLessThanOrEqual(Date.parse(before.offline_since));

  await server.end("SIGKILL");
  await start();
  await vi.waitFor(async () => expect((await camera("north")).presence).toMatchObject({ status: "offline" }));
  const { presence: after } = await camera("north");
  // The server's own clock follows the system clock in small steps, so the displayed time may move by some milliseconds.
  for (const name of ["since", "offline_since", "last_heard_at"])
    expect(Math.abs(Date.parse(after[name]) - Date.parse(before[name])), name).toBeLessThan(1000);
  expect((await camera("north")).alerts).toHaveProperty("offline");
});

it("the server reports a camera as offline since the kill of the server if the camera does not reconnect", async () => {
  const secret = await addCamera(dataPath, "north");
  await start();
  const program = await startCameraProgram({ brokerUrl: server.mqtt, secret });
  cleanUps.push(() => program.end());
  await vi.waitFor(async () => expect((await camera("north")).presence.status).toBe("online"));
  await server.end("SIGKILL");
  const goneAt = Date.now();
  program.process.kill("SIGKILL");
  await start();
  await vi.waitFor(async () => expect((await camera("north")).presence.status).toBe("offline"));
  const { presence } = await camera("north");
  expect(Date.parse(presence.offline_since)).toBeLessThanOrEqual(goneAt);
  await vi.waitFor(async () => expect((await camera("north")).alerts).toHaveProperty("offline"));
});
