import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { WebSocket } from "ws";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;
const sockets: WebSocket[] = [];

beforeAll(async () => {
  bridge = await startTestBridge();
});
afterAll(async () => {
  for (const socket of sockets) socket.terminate();
  await bridge.stop();
});

const CHANNELS = ["dashboard", "jobs", "alerts"];

/** The events that a user with these permissions has received so far. */
async function watch(...permissions: string[]): Promise<() => string> {
  const socket = await bridge.connect(...permissions);
  sockets.push(socket);
  const frames: string[] = [];
  socket.on("message", (message) => frames.push(String(message)));
  for (const channel of CHANNELS) {
    socket.send(JSON.stringify({ type: "subscribe", channel }));
    await expect.poll(() => frames.join()).toContain(`"caught_up","channel":"${channel}"`);
  }
  return () => frames.join("\n");
}

const broadcast = (event: string, data: object) =>
  bridge.call("/broadcast", { method: "POST", token: OPERATOR_KEY, body: { channel: "dashboard", event, data } });

const NARROWED = ["dashboard:read", "jobs:read", "alerts:read", "camera:north:read"];

describe("a user narrowed to one camera", () => {
  it("gets no job, alert or broadcast that names another camera, on any channel", async () => {
    const seen = await watch(...NARROWED);
    await bridge.say("processing/stacker/jobs/j-south", { job: "j-south", status: "queued", camera: "south" }, true);
    // Later events of a job may omit the camera.
    await bridge.say("processing/stacker/jobs/j-south", { job: "j-south", status: "completed" }, true);
    await bridge.say("processing/stacker/jobs/j-south", Buffer.alloc(0), true);
    await bridge.say("processing/stacker/events/film.made", { camera: "south", film: "f-south" });
    await bridge.say("cameras/south/alerts/disk", { alert: "disk", severity: "warning", message: "a-south" }, true);
    await broadcast("visit.planned", { camera: "south", by: "b-south" });
    await bridge.say("processing/stacker/jobs/j-north", { job: "j-north", status: "queued", camera: "north" }, true);
    await bridge.say("cameras/north/alerts/disk", { alert: "disk", severity: "warning", message: "a-north" }, true);
    await broadcast("visit.planned", { by: "b-everybody" });
    await expect.poll(seen).toContain("b-everybody");
    for (const own of ["j-north", "a-north"]) expect(seen()).toContain(own);
    expect(seen()).not.toContain("south");
  });

  it("does not learn from /stats which channels of other cameras are watched", async () => {
    const socket = await bridge.connect("dashboard:read", "camera:read");
    sockets.push(socket);
    const subscribed: string[] = [];
    socket.on("message", (message) => subscribed.push(String(message)));
    for (const camera of ["north", "south"])
      socket.send(JSON.stringify({ type: "subscribe", channel: `camera:${camera}` }));
    await expect.poll(() => subscribed.join()).toContain('"caught_up","channel":"camera:south"');
    const stats = async (...permissions: string[]) =>
      (await bridge.call("/stats", { token: bridge.mint("system:read", ...permissions) })).text;
    expect(await stats("camera:read")).toContain("camera:south");
    const seen = await stats(...NARROWED);
    expect(seen).toContain("camera:north");
    expect(seen).not.toContain("camera:south");
  });

  it("gets no state of another camera when it subscribes", async () => {
    await bridge.say("processing/stacker/jobs/k-south", { job: "k-south", status: "queued", camera: "south" }, true);
    await bridge.say("processing/stacker/jobs/k-north", { job: "k-north", status: "queued", camera: "north" }, true);
    const seen = (await watch(...NARROWED))();
    expect(seen).toContain("k-north");
    expect(seen).not.toContain("south");
  });
});

describe("a user who may see all cameras", () => {
  it("gets jobs and broadcasts that name any camera", async () => {
    const seen = await watch("dashboard:read", "jobs:read", "alerts:read", "camera:read", "camera:north:read");
    await bridge.say("processing/stacker/jobs/l-south", { job: "l-south", status: "queued", camera: "south" }, true);
    await broadcast("visit.planned", { camera: "south", by: "c-south" });
    await expect.poll(seen).toContain("l-south");
    await expect.poll(seen).toContain("c-south");
  });
});

describe("a camera that only a job names", () => {
  it("is not listed and has no presence", async () => {
    await bridge.say("processing/stacker/jobs/m", { job: "m", status: "queued", camera: "phantom" }, true);
    expect((await bridge.call("/cameras", { token: OPERATOR_KEY })).text).not.toContain("phantom");
    expect((await bridge.call("/cameras/phantom", { token: OPERATOR_KEY })).status).toBe(404);
  });
});
