import { describe, expect, it } from "vitest";
import { homeAssistantState, type RetainedTopics } from "../../../../bridge/cameras/home-assistant/state.ts";
import { CAMERA_ALERTS, presenceSchema } from "../../../../contract/events.ts";
import { homeAssistantStateSchema } from "../../../../contract/home-assistant-state.ts";

const NOTHING: RetainedTopics = { about: undefined, states: new Map(), alerts: new Map() };
const stateOf = (topics: Partial<RetainedTopics>, lastCapture?: number) =>
  homeAssistantStateSchema.parse(homeAssistantState({ ...NOTHING, ...topics }, lastCapture));

describe("the state for Home Assistant", () => {
  it("has only unknown values for a camera that has published nothing, and no alert", () => {
    const { alerts, problems, ...values } = stateOf({});
    expect(values).toEqual({
      ...{ availability: "offline", presence: null, connected: null, problem: "OFF" },
      ...{ last_capture: null, capture_interval_s: null, storage_used_percent: null, storage_free_gb: null },
      ...{ battery_percent: null, temperature_c: null, processor_temperature_c: null },
    });
    expect(problems).toEqual({});
    expect(Object.entries(alerts)).toEqual(CAMERA_ALERTS.map((name) => [name, "OFF"]));
  });

  const AVAILABLE = ["online", "stale", "sleeping"];
  const CONNECTED = ["online", "stale"];
  it.each(presenceSchema.shape.status.options)("follows the computed presence %s", (status) => {
    const states = new Map([["presence", { status, since: "2026-03-01T06:30:00.000Z" }]]);
    const isUnknown = status === "unknown";
    expect(stateOf({ states })).toMatchObject({
      availability: AVAILABLE.includes(status) ? "online" : "offline",
      presence: isUnknown ? null : status,
      connected: isUnknown ? null : CONNECTED.includes(status) ? "ON" : "OFF",
    });
  });

  it("has the values in the units of the announcement", () => {
    const states = new Map<string, unknown>([
      ["storage", { total_bytes: 32_000_000_000, free_bytes: 8_123_456_789 }],
      ["power", { source: "solar", battery_percent: 71.5 }],
      ["environment", { sun_elevation: 3, sun_azimuth: 9, temperature_c: -12.5 }],
      ["resources", { cpu_percent: 3, memory_bytes: 1, temperature_c: 54 }],
    ]);
    expect(stateOf({ states, about: { capture_interval_s: 30 } }, Date.UTC(2026, 2, 1))).toMatchObject({
      ...{ storage_used_percent: 74.6, storage_free_gb: 8.12, battery_percent: 71.5, temperature_c: -12.5 },
      ...{ processor_temperature_c: 54, capture_interval_s: 30, last_capture: "2026-03-01T00:00:00.000Z" },
    });
  });

  it("keeps what is right of a message, and takes nothing that is wrong", () => {
    const states = new Map<string, unknown>([
      ["storage", { total_bytes: 0, free_bytes: -1 }],
      ["power", { battery_percent: 40 }],
      ["environment", { temperature_c: "cold" }],
      ["resources", "hot"],
      ["presence", { status: "asleep" }],
    ]);
    expect(stateOf({ states, about: { capture_interval_s: -5 } })).toMatchObject({
      ...{ storage_used_percent: null, storage_free_gb: null, battery_percent: 40, temperature_c: null },
      ...{ processor_temperature_c: null, capture_interval_s: null, presence: null },
    });
  });

  it("names each raised alert, also one of the camera alone", () => {
    const alerts = new Map<string, unknown>([
      ["disk", { alert: "disk", severity: "warning", message: "Storage is 91 % full" }],
      ["heater", "broken"],
    ]);
    const state = stateOf({ alerts });
    expect(state).toMatchObject({ problem: "ON", problems: { disk: "Storage is 91 % full", heater: "" } });
    expect(state.alerts).toMatchObject({ disk: "ON", offline: "OFF" });
  });

  it("bounds the messages of alerts", () => {
    const alerts = new Map(Array.from({ length: 99 }, (_, at) => [`a${at}`, { message: "x".repeat(2000) }]));
    expect(JSON.stringify(stateOf({ alerts })).length).toBeLessThan(16_384);
  });
});
