import sharp from "sharp";
import { expect, test } from "vitest";
import { reportedScheduleSchema } from "../../contract/commands.ts";
import {
  cameraAboutSchema,
  captureCompletedSchema,
  captureFailedSchema,
  captureProgressSchema,
  environmentSchema,
  linkSchema,
  powerSchema,
  reportedSettingsSchema,
  storageSchema,
} from "../../contract/events.ts";
import type { CameraDriver } from "../../device/cameras/camera-driver.ts";
import { SimulatedCamera } from "../../device/simulator/simulated-camera.ts";
import { startRunningClock } from "../support/running-clock.ts";
import {
  cameraAt,
  cameraTopic,
  envelopeOf,
  eventTopic,
  openBroker,
  plainCamera,
  stateTopic,
  tree,
  zermatt,
} from "./support/cameras.ts";

test("the agent logs in with id, secret and a clean session, and publishes `online`", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker);
  const first = await broker.until(() => broker.on(cameraTopic("link"))[0]);
  expect(broker.connects).toEqual([{ id: "camera-north", username: "north", password: "s3cret", clean: true }]);
  expect(first.retain).toBe(true);
  expect(first.qos).toBe(1);
  const envelope = envelopeOf(first);
  expect(envelope.event).toBe("camera.online");
  expect(linkSchema.parse(envelope.data)).toEqual({ status: "online", session: agent.session });
  // Messages about the link have no number, because the broker may publish the will at any time.
  expect(envelope.seq).toBeUndefined();
});

test("the agent publishes all its states after the birth, valid by the contract's schemas", async () => {
  const broker = await openBroker();
  await cameraAt(broker);
  const states = {
    settings: reportedSettingsSchema,
    schedule: reportedScheduleSchema,
    capture: captureProgressSchema,
    environment: environmentSchema,
    storage: storageSchema,
    power: powerSchema,
  };
  for (const [name, schema] of Object.entries(states)) {
    const message = await broker.until(() => broker.on(stateTopic(name))[0]);
    expect(message.retain).toBe(true);
    const envelope = envelopeOf(message);
    expect(schema.strict().safeParse(envelope.data).error).toBeUndefined();
    expect(envelope.seq).toBeGreaterThan(0);
  }
  const about = cameraAboutSchema.parse(envelopeOf(await broker.until(() => broker.on(cameraTopic("about"))[0])).data);
  expect(about).toMatchObject({ name: "North face", capture_interval_s: 86_400, location: { lat: 46.02 } });
  // This camera stores no pictures, so it cannot send an earlier one again.
  const commands = ["capture.now", "schedule.set", "settings.set", "reboot", "sleep"];
  expect(about.capabilities).toMatchObject({
    commands,
    max_sleep_days: 7,
    settings: { hdr: { values: [true, false] } },
  });
  const { data } = envelopeOf(broker.on(stateTopic("environment"))[0] ?? expect.fail("no environment"));
  expect(environmentSchema.parse(data).next_golden_hour).toBeDefined();
});

test("the agent sends every message except previews with the session and consecutive numbers", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker);
  await agent.captureNow();
  await broker.until(() => broker.received.some(({ topic }) => tree.parse(topic)?.kind === "camera-preview"));
  const numbered = broker.received.filter(
    ({ topic }) => !["camera-preview", "camera-link", undefined].includes(tree.parse(topic)?.kind),
  );
  const envelopes = numbered.map(envelopeOf);
  expect(envelopes.map(({ seq }) => seq)).toEqual(envelopes.map((_, index) => index + 1));
  expect(new Set(envelopes.map(({ session }) => session))).toEqual(new Set([agent.session]));
  expect(new Set(envelopes.map(({ id }) => id)).size).toBe(envelopes.length);
});

test("the agent publishes the start, the end and the preview of a capture, and the decrease of the free storage", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker, { config: { readingsIntervalS: 0.05, readingsMaxAgeS: 0 } });
  const free = (): number[] =>
    broker.on(stateTopic("storage")).map((message) => storageSchema.parse(envelopeOf(message).data).free_bytes);
  const before = await broker.until(() => free()[0]);
  const completed = await agent.captureNow();
  const preview = await broker.until(() =>
    broker.received.find(({ topic }) => tree.parse(topic)?.kind === "camera-preview"),
  );
  expect(preview.topic).toBe(tree.build({ kind: "camera-preview", camera: "north", capture: completed.capture }));
  expect(await sharp(preview.payload).metadata()).toMatchObject({ format: "jpeg", width: 96, height: 72 });
  expect(preview.retain).toBe(false);
  const started = envelopeOf(broker.on(eventTopic("capture.started"))[0] ?? expect.fail("not started"));
  expect(started.data).toEqual({ capture: completed.capture });
  const event = envelopeOf(broker.on(eventTopic("capture.completed"))[0] ?? expect.fail("not completed"));
  expect(captureCompletedSchema.parse(event.data)).toEqual(completed);
  await broker.until(() => free().includes(before - completed.size_bytes));
});

test("the agent takes pictures at the interval, and publishes the time of the next picture", async () => {
  const broker = await openBroker();
  await cameraAt(broker, { config: { captureIntervalS: 1 } });
  await broker.until(() => broker.on(eventTopic("capture.completed")).length >= 2);
  const progress = await broker.until(() =>
    broker
      .on(stateTopic("capture"))
      .map((message) => captureProgressSchema.parse(envelopeOf(message).data))
      .find(({ captures_completed }) => captures_completed === 1),
  );
  expect(progress.active).toBe(true);
  expect(Date.parse(progress.next_capture_at ?? "")).toBeGreaterThan(0);
});

test("the agent publishes and counts the camera's failures, and retries", async () => {
  const broker = await openBroker();
  let works = false;
  const camera: CameraDriver = {
    about: { model: "Moody", firmware: "0" },
    async capture() {
      if (!works) throw new Error("the sensor does not answer");
      return { jpeg: Buffer.from("no picture"), width: 1, height: 1, settings: {} };
    },
  };
  const agent = await cameraAt(broker, { camera });
  await expect(agent.captureNow()).rejects.toThrow("the sensor does not answer");
  await expect(agent.captureNow()).rejects.toThrow();
  const failures = await broker.until(() => {
    const messages = broker.on(eventTopic("capture.failed"));
    return messages.length === 2 && messages.map((message) => captureFailedSchema.parse(envelopeOf(message).data));
  });
  expect(failures.map(({ failures: count }) => count)).toEqual([1, 2]);
  expect(failures[0]?.error).toBe("the sensor does not answer");
  works = true;
  // A capture without a preview has still succeeded.
  await agent.captureNow();
  await broker.until(() => broker.on(eventTopic("capture.completed")).length === 1);
  await broker.until(() => broker.on(eventTopic("error.occurred")).length === 1);
});

test("the agent is reported as offline by its will, with its session, when the power fails", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker, { config: { reconnect: { minMs: 60_000, maxMs: 60_000 } } });
  await broker.until(() => broker.on(cameraTopic("link")).length === 1);
  broker.cut();
  const will = await broker.until(() => broker.on(cameraTopic("link"))[1]);
  expect(linkSchema.parse(envelopeOf(will).data)).toEqual({ status: "offline", session: agent.session });
  expect(will.retain).toBe(true);
});

test("the agent sends its messages, publishes `offline` and leaves no will when it is stopped", async () => {
  const broker = await openBroker();
  const { about, capture: take } = await plainCamera();
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  // The picture finishes during the camera's stop, however fast the machine is.
  const camera: CameraDriver = { about, capture: (...given) => opened.then(() => take(...given)) };
  const agent = await cameraAt(broker, { camera });
  await broker.until(() => broker.on(cameraTopic("about")).length === 1);
  const capture = agent.captureNow();
  await broker.until(() => broker.on(eventTopic("capture.started")).length === 1);
  const elapsedMs = startRunningClock();
  const stopped = Promise.all([agent.stop(), agent.stop()]);
  open();
  await Promise.all([capture, stopped]);
  expect(elapsedMs()).toBeLessThan(10_000);
  expect(broker.on(eventTopic("capture.completed"))).toHaveLength(1);
  const links = broker.on(cameraTopic("link")).map((message) => linkSchema.parse(envelopeOf(message).data).status);
  expect(links).toEqual(["online", "offline"]);
  expect(broker.received.at(-1)?.topic).toBe(cameraTopic("link"));
});

test("the agent abandons a picture that takes longer than the time limit of the stop, and publishes the failure", async () => {
  const broker = await openBroker();
  const agent = await cameraAt(broker, { camera: new SimulatedCamera({ location: zermatt, seed: "slow" }) });
  await broker.until(() => broker.on(cameraTopic("about")).length === 1);
  const capture = agent.captureNow();
  const given = expect(capture).rejects.toThrow("the camera was stopped");
  await broker.until(() => broker.on(eventTopic("capture.started")).length === 1);
  await Promise.all([given, agent.stop()]);
  expect(broker.on(eventTopic("capture.completed"))).toHaveLength(0);
  expect(broker.received.at(-1)?.topic).toBe(cameraTopic("link"));
});

test("the agent starts, takes pictures and stops without a broker", async () => {
  const broker = await openBroker();
  await broker.close();
  const agent = await cameraAt(broker);
  expect((await agent.captureNow()).width).toBe(96);
  const elapsedMs = startRunningClock();
  await agent.stop();
  expect(elapsedMs()).toBeLessThan(10_000);
});
