import { pino } from "pino";
import { onTestFinished } from "vitest";
import { type Envelope, envelopeSchema } from "../../../contract/events.ts";
import { topicTree } from "../../../contract/topics.ts";
import { type CameraAgent, type CameraOptions, startCamera } from "../../../device/agent.ts";
import type { CameraDriver } from "../../../device/cameras/camera-driver.ts";
import type { CameraConfig } from "../../../device/config.ts";
import { SimulatedCamera } from "../../../device/simulator/simulated-camera.ts";
import { jpegOf } from "./programs.ts";
import { type Received, TestBroker } from "./test-broker.ts";

export const silent = pino({ level: "silent" });
export const tree = topicTree();
export const zermatt = { lat: 46.02, lon: 7.75, timezone: "Europe/Zurich" };
export const quickly = { minMs: 10, maxMs: 50 };

export async function openBroker(): Promise<TestBroker> {
  const broker = await new TestBroker().open();
  onTestFinished(() => broker.close());
  return broker;
}

export function smallCamera(): CameraDriver {
  return new SimulatedCamera({ location: zermatt, seed: "north", width: 96, height: 72 });
}

/** A fast camera with one prepared picture, for tests that are not about pictures. */
export async function plainCamera(): Promise<CameraDriver> {
  const jpeg = await jpegOf(64, 48);
  return {
    about: { model: "Stand-in", firmware: "1" },
    capture: async () => ({ jpeg, width: 64, height: 48, settings: {} }),
  };
}

export function configFor(broker: TestBroker, changes: Partial<CameraConfig> = {}): CameraConfig {
  return {
    id: "north",
    secret: "s3cret",
    name: "North face",
    brokerUrl: broker.url,
    topicRoot: tree.root,
    location: zermatt,
    captureIntervalS: 86_400,
    readingsIntervalS: 60,
    preview: { width: 96, maxBytes: 65_536, every: 1 },
    outboxBytes: 1_000_000,
    reconnect: quickly,
    rebootMs: 20,
    ...changes,
  };
}

/** A camera that takes pictures on command only, unless `config` says otherwise. */
export async function cameraAt(
  broker: TestBroker,
  { config, ...options }: Partial<Omit<CameraOptions, "config">> & { config?: Partial<CameraConfig> } = {},
): Promise<CameraAgent> {
  const agent = await startCamera({
    config: configFor(broker, config),
    camera: options.camera ?? smallCamera(),
    logger: options.logger ?? silent,
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  });
  onTestFinished(() => agent.stop());
  return agent;
}

export function envelopeOf(message: Received): Envelope {
  return envelopeSchema.parse(JSON.parse(message.payload.toString()));
}

export function cameraTopic(kind: "link" | "about"): string {
  return tree.build({ kind: kind === "link" ? "camera-link" : "camera-about", camera: "north" });
}

export function stateTopic(name: string): string {
  return tree.build({ kind: "camera-state", camera: "north", name });
}

export function eventTopic(event: string): string {
  return tree.build({ kind: "camera-event", camera: "north", event });
}

export function replyTopic(command: string): string {
  return tree.build({ kind: "camera-reply", camera: "north", command });
}

export function commandTopic(command: string): string {
  return tree.build({ kind: "camera-command", camera: "north", command });
}
