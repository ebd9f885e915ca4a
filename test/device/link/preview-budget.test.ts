import { expect, test } from "vitest";
import type { CameraAgent } from "../../../device/agent.ts";
import type { FoundPicture, PictureSink } from "../../../device/cameras/camera-driver.ts";
import type { PreviewConfig } from "../../../device/capture/pictures.ts";
import { loadConfig } from "../../../device/config.ts";
import {
  cameraAt,
  cameraTopic,
  commandTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  plainCamera,
  replyTopic,
  tree,
} from "../support/cameras.ts";
import { jpegOf, temporaryFolder } from "../support/programs.ts";
import type { TestBroker } from "../support/test-broker.ts";

/** The configuration for a `PREVIEW_BUDGET`. */
function budget(text: string): PreviewConfig {
  const needed = { CAMERA_ID: "north", CAMERA_SECRET: "s3cret", LOCATION_LAT: "46", LOCATION_LON: "7" };
  return loadConfig({ env: { ...needed, PREVIEW_BUDGET: text } }).camera.preview;
}

const captures = (broker: TestBroker): string[] =>
  broker.on(eventTopic("capture.completed")).map((message) => String(Object(envelopeOf(message).data).capture));

/** The captures whose previews have arrived. */
const previews = (broker: TestBroker): string[] =>
  broker.received.flatMap(({ topic: name }) => {
    const topic = tree.parse(name);
    return topic?.kind === "camera-preview" ? [topic.capture] : [];
  });

let commands = 0;
/** Sends a command and resolves to its final reply. */
async function give(broker: TestBroker, name: string, args: Record<string, unknown> = {}): Promise<unknown> {
  const now = Date.now();
  const id = `command-${++commands}`;
  await broker.publish(commandTopic(name), {
    ...{ id, name, args, issued_by: "alice", issued_at: new Date(now).toISOString() },
    expires_at: new Date(now + 60_000).toISOString(),
  });
  return broker.until(() =>
    broker
      .on(replyTopic(name))
      .map((message) => Object(envelopeOf(message).data))
      .find(({ command_id, status }) => command_id === id && status !== "accepted"),
  );
}

/** Resolves when all earlier messages have arrived at the broker. */
async function settled(agent: CameraAgent): Promise<void> {
  await expect.poll(() => agent.waiting).toBe(0);
}

/** A camera that imports pictures when the test delivers them, like the folder camera. */
async function cameraWith(broker: TestBroker, text: string) {
  const jpeg = await jpegOf();
  let sink: PictureSink | undefined;
  const agent = await cameraAt(broker, {
    camera: {
      ...(await plainCamera()),
      watch: (given) => {
        sink = given;
      },
    },
    config: { preview: budget(text), dataPath: temporaryFolder(), images: {} },
  });
  await broker.until(() => broker.on(cameraTopic("about")).length > 0);
  let pictures = 0;
  const due = async (count: number): Promise<void> => {
    for (let picture = 0; picture < count; picture++) {
      const found: FoundPicture = {
        jpeg,
        width: 64,
        height: 48,
        settings: {},
        name: `${++pictures}`,
        takenAt: new Date(),
      };
      await sink?.store(found);
    }
  };
  return { agent, due };
}

test.each([
  ["all", [0, 1, 2, 3, 4, 5, 6]],
  ["every:3", [0, 3, 6]],
  ["every:100", [0]],
  ["on-demand", []],
  ["off", []],
])("the camera with a budget of %s sends previews of these out of seven due pictures: %j", async (text, wanted) => {
  const broker = await openBroker();
  const { agent, due } = await cameraWith(broker, text);
  await due(7);
  await settled(agent);
  expect(captures(broker)).toHaveLength(7);
  const sent = new Set(previews(broker));
  expect(captures(broker).flatMap((capture, index) => (sent.has(capture) ? [index] : []))).toEqual(wanted);
});

test("the camera sends a preview of a commanded picture, unless previews are off", async () => {
  for (const [text, wanted] of [
    ["all", 1],
    ["every:3", 1],
    ["on-demand", 1],
    ["off", 0],
  ] as const) {
    const broker = await openBroker();
    const { agent } = await cameraWith(broker, text);
    expect(await give(broker, "capture.now")).toMatchObject({ status: "succeeded" });
    await settled(agent);
    expect(previews(broker)).toHaveLength(wanted);
  }
});

test("the camera sends the preview of the newest or a named picture on command", async () => {
  const broker = await openBroker();
  const { agent, due } = await cameraWith(broker, "on-demand");
  expect(await give(broker, "preview.send")).toMatchObject({ status: "failed", error: "no picture was taken yet" });
  await due(3);
  await broker.until(() => captures(broker).length === 3);
  const [first = ""] = captures(broker);
  const newest = captures(broker).toSorted().at(-1);
  expect(await give(broker, "preview.send", { capture: first })).toMatchObject({ status: "succeeded" });
  expect(await give(broker, "preview.send")).toMatchObject({ status: "succeeded", result: { capture: newest } });
  await settled(agent);
  expect(previews(broker)).toEqual([first, newest]);
  expect(await give(broker, "preview.send", { capture: "unheard-of" })).toMatchObject({
    status: "failed",
    error: "no picture unheard-of",
  });
});

test("the camera sends no preview on command when previews are off", async () => {
  const broker = await openBroker();
  const { agent, due } = await cameraWith(broker, "off");
  await due(1);
  expect(await give(broker, "preview.send")).toMatchObject({
    status: "failed",
    error: expect.stringContaining("PREVIEW_BUDGET is off"),
  });
  await settled(agent);
  expect(previews(broker)).toEqual([]);
});

test("the camera sends a preview of every third scheduled picture, starting with the first", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker, {
    camera: await plainCamera(),
    config: { preview: budget("every:3"), captureIntervalS: 1 },
  });
  await broker.until(() => previews(broker).length >= 3);
  await agent.stop();
  const taken = captures(broker);
  expect(previews(broker).slice(0, 3)).toEqual([taken[0], taken[3], taken[6]]);
});
