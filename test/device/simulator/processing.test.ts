import { expect, onTestFinished, test } from "vitest";
import { type Job, jobSchema, linkSchema } from "../../../contract/events.ts";
import { type ProcessingConfig, ProcessingService } from "../../../device/simulator/processing.ts";
import { envelopeOf, openBroker, quickly, silent, tree } from "../support/cameras.ts";
import type { TestBroker } from "../support/test-broker.ts";

function serviceAt(broker: TestBroker, changes: Partial<ProcessingConfig> = {}): ProcessingService {
  const config = {
    id: "timelapse",
    secret: "s3cret",
    brokerUrl: broker.url,
    topicRoot: tree.root,
    cameras: ["north", "south"],
    reconnect: quickly,
    jobIntervalMs: 60_000,
    stepMs: 10,
    keepMs: 50,
    ...changes,
  };
  const service = new ProcessingService(config, silent);
  service.start();
  onTestFinished(() => service.stop());
  return service;
}

const jobTopic = (job: string): string => tree.build({ kind: "service-job", service: "timelapse", job });
const linkTopic = tree.build({ kind: "service-link", service: "timelapse" });

function jobMessages(broker: TestBroker, job: string): Job[] {
  return broker
    .on(jobTopic(job))
    .filter(({ payload }) => payload.length > 0)
    .map((message) => jobSchema.parse(envelopeOf(message).data));
}

const cleared = (broker: TestBroker, job: string): boolean => broker.on(jobTopic(job)).at(-1)?.payload.length === 0;

test("the processing service publishes a simulated timelapse job as queued, progressing and completed, without outputs, and clears the job", async () => {
  const broker = await openBroker();
  serviceAt(broker);
  await broker.until(() => cleared(broker, "north-timelapse"));
  const messages = jobMessages(broker, "north-timelapse");
  expect(messages[0]).toMatchObject({ status: "queued", type: "timelapse_assembly", camera: "north", progress: 0 });
  const progress = messages.map((job) => job.progress);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
  expect(messages.filter(({ status }) => status === "processing").length).toBeGreaterThan(3);
  expect(messages.at(-1)).toMatchObject({ status: "completed", progress: 100 });
  expect(messages.map(({ simulated, outputs }) => [simulated, outputs])).toEqual(messages.map(() => [true, undefined]));
  expect(broker.on(jobTopic("north-timelapse")).every(({ retain }) => retain)).toBe(true);
  const events = broker
    .on(jobTopic("north-timelapse"))
    .slice(0, -1)
    .map((message) => envelopeOf(message).event);
  expect(new Set(events)).toEqual(new Set(["job.progress", "job.completed"]));
});

test("the processing service alternates timelapse and image processing, camera by camera", async () => {
  const broker = await openBroker();
  serviceAt(broker, { jobIntervalMs: 20 });
  for (const job of ["north-timelapse", "north-images", "south-timelapse", "south-images"])
    await broker.until(() => jobMessages(broker, job).some(({ status }) => status === "completed"));
  expect(jobMessages(broker, "south-images")[0]?.type).toBe("image_processing");
});

test("the processing service fails jobs only when configured, and then regularly", async () => {
  const broker = await openBroker();
  serviceAt(broker, { jobIntervalMs: 20, failEvery: 2 });
  const ends = (job: string) =>
    jobMessages(broker, job).filter(({ error, status }) => error !== undefined || status === "completed");
  await broker.until(() => ends("north-images").length > 1 && ends("north-timelapse").length > 1);
  for (const { status } of ends("north-timelapse")) expect(status).toBe("completed");
  for (const end of ends("north-images")) expect(end).toMatchObject({ status: "failed", error: /encoder/ });
});

test("the processing service publishes `online`, and clears its unfinished jobs when it is stopped", async () => {
  const broker = await openBroker();
  const service = serviceAt(broker, { stepMs: 60_000 });
  await broker.until(() => jobMessages(broker, "north-timelapse").length === 1);
  await service.stop();
  await service.stop();
  expect(cleared(broker, "north-timelapse")).toBe(true);
  const links = broker.on(linkTopic).map(envelopeOf);
  expect(links.map(({ event }) => event)).toEqual(["service.link", "service.link"]);
  expect(links.map(({ data }) => linkSchema.parse(data))).toEqual([
    { status: "online", session: service.session },
    { status: "offline", session: service.session },
  ]);
});

test("the processing service is reported as offline by its will when it dies", async () => {
  const broker = await openBroker();
  const service = serviceAt(broker, { reconnect: { minMs: 60_000, maxMs: 60_000 } });
  await broker.until(() => broker.on(linkTopic).length === 1);
  broker.cut();
  const will = await broker.until(() => broker.on(linkTopic)[1]);
  expect(linkSchema.parse(envelopeOf(will).data)).toEqual({ status: "offline", session: service.session });
});
