import { z } from "zod";
import {
  alertSchema,
  CAMERA_ALERTS,
  cameraAboutSchema,
  environmentSchema,
  type Presence,
  powerSchema,
  presenceSchema,
  resourcesSchema,
  storageSchema,
} from "../../../contract/events.ts";
import type { HomeAssistantState } from "../../../contract/home-assistant-state.ts";
import { PRESENCE_STATE, type TopicTree } from "../../../contract/topics.ts";
import { dataOf } from "../../journal/entry-body.ts";
import type { StateEntry } from "../../journal/journal.ts";

/** Home Assistant records attributes of at most 16 KiB. */
const MAX_PROBLEMS = 32;
const MAX_MESSAGE_LENGTH = 300;

/** The states whose values Home Assistant shows. */
export const SHOWN_STATES: ReadonlySet<string> = new Set([
  ...[PRESENCE_STATE, "storage", "power", "environment", "resources"],
]);

// Each value is read alone: a camera that is not ours may publish only some of them.
const batterySchema = z.object({ battery_percent: powerSchema.shape.battery_percent });
const weatherSchema = z.object({ temperature_c: environmentSchema.shape.temperature_c });
const machineSchema = z.object({ temperature_c: resourcesSchema.shape.temperature_c });
const intervalSchema = z.object({ capture_interval_s: cameraAboutSchema.shape.capture_interval_s });

/** A camera's retained topics, parsed once. */
export interface RetainedTopics {
  about: unknown;
  states: ReadonlyMap<string, unknown>;
  alerts: ReadonlyMap<string, unknown>;
}

export function retainedTopics(entries: readonly StateEntry[], tree: Pick<TopicTree, "parse">): RetainedTopics {
  const states = new Map<string, unknown>();
  const alerts = new Map<string, unknown>();
  let about: unknown;
  for (const entry of entries) {
    const topic = tree.parse(entry.topic);
    if (topic?.kind === "camera-about") about = dataOf(entry);
    else if (topic?.kind === "camera-alert") alerts.set(topic.name, dataOf(entry));
    else if (topic?.kind === "camera-state" && SHOWN_STATES.has(topic.name)) states.set(topic.name, dataOf(entry));
  }
  return { about, states, alerts };
}

/** @param lastCapture milliseconds since 1970; undefined if unknown */
export function homeAssistantState(topics: RetainedTopics, lastCapture: number | undefined): HomeAssistantState {
  const { about, states, alerts } = topics;
  const status = presenceSchema.shape.status.safeParse(memberOf(states.get(PRESENCE_STATE), "status")).data;
  const storage = storageSchema.safeParse(states.get("storage")).data;
  return {
    availability: status === "online" || status === "stale" || status === "sleeping" ? "online" : "offline",
    presence: status === undefined || status === "unknown" ? null : status,
    connected: connectedFor(status),
    last_capture: lastCapture === undefined ? null : new Date(lastCapture).toISOString(),
    capture_interval_s: intervalSchema.safeParse(about).data?.capture_interval_s ?? null,
    storage_used_percent:
      storage === undefined ? null : round(Math.max(0, 100 * (1 - storage.free_bytes / storage.total_bytes)), 1),
    storage_free_gb: storage === undefined ? null : round(storage.free_bytes / 1e9, 2),
    battery_percent: batterySchema.safeParse(states.get("power")).data?.battery_percent ?? null,
    temperature_c: weatherSchema.safeParse(states.get("environment")).data?.temperature_c ?? null,
    processor_temperature_c: machineSchema.safeParse(states.get("resources")).data?.temperature_c ?? null,
    problem: onOff(alerts.size > 0),
    problems: Object.fromEntries([...alerts].slice(0, MAX_PROBLEMS).map(([name, data]) => [name, messageIn(data)])),
    alerts: Object.fromEntries(CAMERA_ALERTS.map((name) => [name, onOff(alerts.has(name))])),
  };
}

function connectedFor(status: Presence["status"] | undefined): "ON" | "OFF" | null {
  if (status === undefined || status === "unknown") return null;
  return onOff(status === "online" || status === "stale");
}

function messageIn(data: unknown): string {
  const message = alertSchema.shape.message.safeParse(memberOf(data, "message")).data ?? "";
  return message.slice(0, MAX_MESSAGE_LENGTH);
}

function memberOf(data: unknown, name: string): unknown {
  return z.record(z.string(), z.unknown()).safeParse(data).data?.[name];
}

function onOff(isOn: boolean): "ON" | "OFF" {
  return isOn ? "ON" : "OFF";
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
