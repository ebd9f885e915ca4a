import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { smallJpeg } from "../support/jpeg.ts";
import { captureAt } from "./previews/previews-suite.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "./support/test-bridge.ts";
import { connect } from "./websocket/client.ts";

const MINUTE_MS = 60_000;
const now = Date.now();

/** The captures of the previews in the state that a new dashboard gets. */
async function previewsOf({ port, mint }: TestBridge, channel = "dashboard", permission = "dashboard:read") {
  const client = await connect(`ws://127.0.0.1:${port}/ws`, mint(permission));
  client.send({ type: "subscribe", channel });
  await client.next("caught_up");
  client.ws.close();
  return client.messages.flatMap((message) =>
    message.type === "dashboard_event" && message.event === "preview.updated" ? [message] : [],
  );
}

const takePicture = ({ say }: TestBridge, camera: string, minutesAgo: number) =>
  say(`cameras/${camera}/previews/${captureAt(now - minutesAgo * MINUTE_MS)}`, smallJpeg(`${camera} ${minutesAgo}`));
const online = ({ say }: TestBridge, camera: string) =>
  say(`cameras/${camera}/state/presence`, { status: "online", since: new Date(now).toISOString() }, true);

it("the state of a channel has each camera's newest preview, also after a restart", async () => {
  const dataPath = await mkdtemp(join(tmpdir(), "latest-previews-"));
  onTestFinished(() => rm(dataPath, { recursive: true }));
  const first = await startTestBridge({ dataPath });
  for (const camera of ["north", "south"]) await online(first, camera);
  await takePicture(first, "north", 5);
  await takePicture(first, "south", 3);
  await takePicture(first, "north", 1);
  // A picture of a backlog is not the newest one.
  await takePicture(first, "north", 60);
  const expected = [
    ["north", captureAt(now - MINUTE_MS).slice(0, 10), new Date(now - MINUTE_MS).toISOString(), true],
    ["south", captureAt(now - 3 * MINUTE_MS).slice(0, 10), new Date(now - 3 * MINUTE_MS).toISOString(), true],
  ];
  const seen = async (bridge: TestBridge) =>
    (await previewsOf(bridge))
      .map(({ camera, data, snapshot }) => {
        const { capture, taken_at } = data as { capture: string; taken_at: string };
        return [camera, capture.slice(0, 10), taken_at, snapshot];
      })
      .sort();
  expect(await seen(first)).toEqual(expected);
  await first.stop();

  const second = await startTestBridge({ dataPath });
  onTestFinished(() => second.stop());
  expect(await seen(second)).toEqual(expected);
  expect((await previewsOf(second, "camera:south", "camera:south:read")).map(({ camera }) => camera)).toEqual([
    "south",
  ]);
});

it("a removed camera has no preview in the state", async () => {
  const bridge = await startTestBridge();
  onTestFinished(() => bridge.stop());
  await bridge.authority.devices.add({ id: "west", kind: "camera", credential: {} });
  await online(bridge, "west");
  await takePicture(bridge, "west", 1);
  await expect.poll(async () => (await previewsOf(bridge)).length).toBe(1);
  expect((await bridge.call("/devices/west", { method: "DELETE", token: OPERATOR_KEY })).status).toBe(204);
  await expect.poll(async () => (await previewsOf(bridge)).length).toBe(0);
});
