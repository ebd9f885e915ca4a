import { execFileSync } from "node:child_process";
import { afterEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createClient } from "../../dashboard-client/index.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { freePort } from "../support/ports.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";
import { Publisher } from "./publisher.ts";
import { SessionCrowd } from "./session-crowd.ts";

/** The messages of each publisher. */
const EVENTS = 700;

const cleanUps: (() => Promise<unknown> | unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

it("acknowledges nothing of MQTT 3.1.1 and 5 while the disk is full, reports the full disk at /readyz, and resumes when space is free, without a loss", async () => {
  const dataPath = makeDataPath();
  cleanUps.push(() => removeDataPath(dataPath));
  const env = {
    JWT_SECRET,
    WS_PORT: String(await freePort()),
    MQTT_PORT: String(await freePort()),
    LOG_LEVEL: "silent",
  };
  const skylapse = await startSkylapse({ dataPath, env });
  cleanUps.push(() => skylapse.end("SIGKILL"));
  const ready = async () => {
    const response = await fetch(`${skylapse.http}/readyz`);
    return { status: response.status, text: await response.text() };
  };

  const shown: number[] = [];
  const gaps: unknown[] = [];
  const dashboard = createClient({
    url: skylapse.socket,
    getToken: async () => signToken("alice", ["camera:read"]),
    WebSocket,
  });
  cleanUps.push(() => dashboard.close());
  let live = false;
  dashboard.subscribe("camera:north", {
    onState: ({ status }) => {
      live = status === "live";
    },
    onEvent: ({ event, data }) => {
      if (event === "capture.completed") shown.push((data as { n: number }).n);
    },
    onGap: (gap) => gaps.push(gap),
  });
  dashboard.connect();
  // Waits for the subscription, because the dashboard gets no event from before the subscription.
  await expect.poll(() => live).toBe(true);

  const sessions = new SessionCrowd(Number(new URL(skylapse.mqtt).port));
  cleanUps.push(() => sessions.stop());
  await sessions.subscribed();
  sessions.toggle();

  const publishers = [
    new Publisher(skylapse.mqtt, "north", EVENTS),
    new Publisher(skylapse.mqtt, "south", EVENTS, { qos: 2, isFive: true }),
    new Publisher(skylapse.mqtt, "east", EVENTS, { isOutside: true, isFive: true }),
    new Publisher(skylapse.mqtt, "west", EVENTS, { isOutside: true, qos: 2 }),
  ];
  cleanUps.push(() => {
    for (const publisher of publishers) publisher.stop();
  });
  const acknowledged = () => publishers.map((publisher) => publisher.acknowledged.size);
  await expect.poll(() => Math.min(...acknowledged()), { interval: 2 }).toBeGreaterThan(EVENTS / 10);
  // From now on, no file of the program may grow, as on a full disk.
  limitFiles(skylapse.process.pid, 0);
  await expect.poll(async () => (await ready()).status).toBe(503);
  // The server has sent all acknowledgements. The publishers read them while the server answers two more requests.
  await ready();
  await ready();
  const atFirst = acknowledged();
  expect((await ready()).text).toMatch(/limit on file size|space/);
  expect(acknowledged()).toEqual(atFirst);
  expect(Math.max(...atFirst)).toBeLessThan(EVENTS);

  limitFiles(skylapse.process.pid, undefined);
  await expect.poll(async () => (await ready()).status).toBe(200);
  await Promise.all(publishers.map((publisher) => publisher.done));
  sessions.comeAll();
  await sessions.expectNoFaults(publishers);
  const all = Array.from({ length: EVENTS }, (_, n) => n + 1);
  await expect.poll(() => shown.length).toBe(EVENTS);
  expect(shown).toEqual(all);
  expect(gaps).toEqual([]);
});

function limitFiles(pid: number | undefined, bytes: number | undefined): void {
  execFileSync("prlimit", ["--pid", String(pid), `--fsize=${bytes ?? "unlimited"}:unlimited`]);
}
