import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { cameraRecordSchema } from "../../contract/camera-records.ts";
import { scheduleSchema } from "../../contract/commands.ts";
import { desiredStateSchema } from "../../contract/desired.ts";
import * as events from "../../contract/events.ts";
import type { Guard } from "../../contract/guards.ts";
import * as guards from "../../contract/state-guards.ts";

const T = "2026-03-01T06:30:00.000Z";
const FILM = {
  output: "4k",
  url: "https://a.org/f.mp4",
  size_bytes: 1,
  width: 1,
  height: 1,
  frames: 1,
  duration_s: 0.5,
};
const GAP = { reason: "missing", count: 1, from: T, to: T, session: "a", first_seq: 1, last_seq: 2, filled: true };
const SOLAR = {
  kind: "solar",
  anchor: "golden_hour",
  when: "morning",
  offset_min: -5,
  duration_min: 9,
  interval_s: 30,
};
const CLOCK = { kind: "clock", start: "06:30", end: "23:59", days: [1, 7], interval_s: 86_400 };
const DESIRED = { version: 1, by: "user:a", at: T, status: "differs", differs_since: T, error: "e" };
const SETTINGS = { exposure_s: 1, iso: 100, exposure_compensation: -5, white_balance: "auto", quality: 90, hdr: true };

/** The guard, its schema, and a value with every member. */
const PAIRS: Record<string, [guard: Guard<unknown>, schema: z.ZodType, full: object]> = {
  presence: [
    ...([guards.isPresence, events.presenceSchema] as const),
    { status: "online", since: T, until: T, session: "a", last_heard_at: T, offline_since: T },
  ],
  about: [
    ...([guards.isCameraAbout, events.cameraAboutSchema] as const),
    {
      ...{ model: "a", firmware: "b", name: "c", location: { lat: 1, lon: 2, timezone: "UTC" } },
      ...{ capture_interval_s: 30, capabilities: { commands: [] } },
    },
  ],
  "camera's record": [
    ...([guards.isCameraRecord, cameraRecordSchema] as const),
    {
      ...{ name: "a", notes: "b", location: { lat: 1, lon: 2 }, tags: ["c"] },
      groups: [{ id: "d", name: "e" }],
    },
  ],
  capabilities: [
    ...([guards.isCapabilities, events.capabilitiesSchema] as const),
    {
      commands: ["capture.now"],
      settings: {
        ...{ exposure_s: { values: [1, 2] }, iso: { min: 1, max: 2, step: 0.5 }, hdr: { values: [true] } },
        ...{ white_balance: { values: ["auto"] }, quality: { min: 1, max: 2 }, exposure_compensation: { values: [0] } },
      },
      max_sleep_days: 1,
    },
  ],
  "report's cause": [
    ...([guards.isReportCause, events.reportCauseSchema] as const),
    { kind: "command", command_id: "a", by: "operator" },
  ],
  desired: [
    ...([guards.isDesiredState, desiredStateSchema] as const),
    {
      schedule: { ...DESIRED, value: { entries: [CLOCK] } },
      settings: { ...DESIRED, value: { ...SETTINGS, iso: null, white_balance: null } },
    },
  ],
  "alert's note": [
    ...([guards.isAlertNote, events.alertNoteSchema] as const),
    { alert: "disk", by: "operator", at: T, until: T, camera: "north" },
  ],
  settings: [guards.isCameraSettings, events.cameraSettingsSchema, SETTINGS],
  "completed capture": [
    ...([guards.isCaptureCompleted, events.captureCompletedSchema] as const),
    { capture: "a", width: 1, height: 1, size_bytes: 0, settings: SETTINGS },
  ],
  "failed capture": [
    ...([guards.isCaptureFailed, events.captureFailedSchema] as const),
    { capture: "a", error: "b", failures: 1 },
  ],
  progress: [
    ...([guards.isCaptureProgress, events.captureProgressSchema] as const),
    { active: true, next_capture_at: T, captures_completed: 0, captures_total: 1 },
  ],
  preview: [
    ...([guards.isPreviewUpdated, events.previewUpdatedSchema] as const),
    { capture: "a", url: "/x", etag: "e", size_bytes: 1, taken_at: T },
  ],
  "list of previews": [
    ...([guards.isPreviewList, events.previewListSchema] as const),
    {
      ...{ camera: "a", total: 1, next: "/x" },
      previews: [{ capture: "a", taken_at: T, url: "/x", etag: "e", size_bytes: 1 }],
    },
  ],
  environment: [
    ...([guards.isEnvironment, events.environmentSchema] as const),
    {
      ...{ sun_elevation: -1, sun_azimuth: 1.5, next_golden_hour: T, temperature_c: -9, humidity_percent: 100 },
      ...{ cloud_percent: 0, wind_ms: 0 },
    },
  ],
  storage: [
    ...([guards.isStorage, events.storageSchema] as const),
    { total_bytes: 1, free_bytes: 0, alert_percent: 90, unwritable: "full" },
  ],
  power: [guards.isPower, events.powerSchema, { source: "solar", battery_percent: 50.5 }],
  resources: [guards.isResources, events.resourcesSchema, { cpu_percent: 1, memory_bytes: 0, temperature_c: 1 }],
  "system status": [
    ...([guards.isSystemStatus, events.systemStatusSchema] as const),
    {
      ...{ service: "a", status: "ok", version: "b", started_at: T, reason: "c" },
      clock: { ahead_seconds: -1.5, noticed_at: T, message: "m" },
    },
  ],
  job: [
    ...([guards.isJob, events.jobSchema] as const),
    {
      ...{ job: "a", type: "timelapse_assembly", status: "queued", progress: 0, camera: "b", outputs: ["1080p"] },
      ...{ films: [FILM, { ...FILM, url: "/films/a.mp4" }], error: "e", simulated: true },
    },
  ],
  alert: [guards.isAlert, events.alertSchema, { alert: "disk", severity: "info", message: "m" }],
  gaps: [guards.isLinkGaps, events.linkGapsSchema, { gaps: [GAP] }],
  schedule: [guards.isSchedule, scheduleSchema, { entries: [SOLAR, { ...SOLAR, anchor: "sunset" }, SOLAR, CLOCK] }],
};

const odd = fc.oneof(
  fc.constantFrom<unknown>(undefined, null, true, 0, -1, 0.5, 1, 101, 1441, 86_401, 102_401, -721, Number.NaN, 2 ** 53),
  fc.constantFrom<unknown>("", "A", "a".repeat(64), "x".repeat(501), "x".repeat(2001), [], {}, [0], [8], ["4k"], [{}]),
  fc.constantFrom<unknown>("//a", "/a", "javascript:alert(1)", " http://a", "ftp://a", "sunrise", "24:00", "6:30"),
  fc.constantFrom<unknown>("2026-02-30T00:00:00Z", "2024-02-29T24:00:00Z", "2024-02-29T00:00Z", "0000-01-01T00:00:00Z"),
  fc.constantFrom<unknown>("2026-03-01T06:30:00+01:00", "2026-03-01 06:30:00Z", "2026-13-01T00:00:00Z", T),
  fc.jsonValue(),
);

/** The value with one member, at any depth, replaced or removed. */
function damaged(value: unknown): fc.Arbitrary<unknown> {
  if (typeof value !== "object" || value === null) return odd;
  const members = Object.entries(value);
  if (members.length === 0) return odd;
  return fc.constantFrom(...members).chain(([name, member]) =>
    fc.oneof(odd, damaged(member)).map((other) => {
      if (Array.isArray(value)) return value.map((one, index) => (String(index) === name ? other : one));
      const { [name]: _, ...rest } = value as Record<string, unknown>;
      return other === undefined ? rest : { ...rest, [name]: other };
    }),
  );
}

describe.each(Object.entries(PAIRS))("the guard of %s", (name, [isValid, schema, full]) => {
  const agrees = (value: unknown): void => {
    expect(isValid(value), JSON.stringify(value)).toBe(schema.safeParse(value).success);
  };

  it("accepts and refuses the same values as the schema", () => {
    // A sunset has no morning.
    if (name !== "schedule") expect(isValid(full)).toBe(true);
    agrees(full);
    agrees({ ...full, unknown: 1 });
    for (const member of Object.keys(full)) {
      const { [member]: _, ...rest } = full as Record<string, unknown>;
      agrees(rest);
      agrees({ ...full, [member]: null });
    }
    fc.assert(fc.property(fc.oneof(damaged(full), odd), agrees), { numRuns: 400 });
    fc.assert(fc.property(damaged(full).chain(damaged), agrees), { numRuns: 200 });
  });
});
