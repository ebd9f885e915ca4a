// Checks the states and events that a dashboard keeps without zod, which would be most of the hooks for React. Each guard
// accepts the same values as the schema that its comment names: test/contract/state-guards.test.ts compares them.

import type { CameraRecord } from "./camera-records.ts";
import type { Schedule, WantedSettings } from "./commands.ts";
import type { DesiredState } from "./desired.ts";
import type * as events from "./events.ts";
import {
  either,
  type Guard,
  isAnything,
  isFlag,
  isIdText,
  isPositive,
  isTimestamp,
  list,
  number,
  object,
  oneOf,
  optional,
  pattern,
  refined,
  strict,
  text,
  whole,
} from "./guards.ts";
import { EVENT_NAME } from "./id-text.ts";

const percent = number(0, 100);
const time = optional(isTimestamp);

/** `presenceSchema` */
export const isPresence: Guard<events.Presence> = object({
  status: oneOf("never_seen", "unknown", "online", "offline", "sleeping", "overslept", "stale"),
  since: isTimestamp,
  until: time,
  session: optional(text()),
  last_heard_at: time,
  offline_since: time,
});

const whiteBalance = oneOf("auto", "daylight", "cloudy", "tungsten", "fluorescent");

const MEMBERS_OF_SETTINGS = {
  exposure_s: refined(number(0, 600), isPositive),
  iso: whole(50, 102_400),
  exposure_compensation: number(-5, 5),
  white_balance: whiteBalance,
  quality: whole(1, 100),
  hdr: isFlag,
};

/** `cameraSettingsSchema` */
export const isCameraSettings: Guard<events.CameraSettings> = object({
  exposure_s: optional(MEMBERS_OF_SETTINGS.exposure_s),
  iso: optional(MEMBERS_OF_SETTINGS.iso),
  exposure_compensation: optional(MEMBERS_OF_SETTINGS.exposure_compensation),
  white_balance: optional(MEMBERS_OF_SETTINGS.white_balance),
  quality: optional(MEMBERS_OF_SETTINGS.quality),
  hdr: optional(MEMBERS_OF_SETTINGS.hdr),
});

const isNumberChoice: Guard<events.NumberChoice> = either(
  object({ values: list(number(), 100, 1) }),
  object({ min: number(), max: number(), step: optional(isPositive) }),
);
const choice = optional(isNumberChoice);

/** `capabilitiesSchema` */
export const isCapabilities: Guard<events.Capabilities> = object({
  commands: list(pattern(EVENT_NAME), 64),
  settings: object<events.AdjustableSettings>({
    exposure_s: choice,
    iso: choice,
    exposure_compensation: choice,
    white_balance: optional(object({ values: list(whiteBalance, 100, 1) })),
    quality: choice,
    hdr: optional(object({ values: list(isFlag, 2, 1) })),
  }),
  max_sleep_days: optional(isPositive),
});

/** `cameraAboutSchema`, with any capabilities */
export const isCameraAbout: Guard<Omit<events.CameraAbout, "capabilities"> & { capabilities?: unknown }> = object({
  model: text(200),
  firmware: text(200),
  name: optional(text(200)),
  location: object({ lat: number(-90, 90), lon: number(-180, 180), timezone: text(64) }),
  capture_interval_s: isPositive,
  capabilities: isAnything,
});

/** `reportCauseSchema` */
export const isReportCause: Guard<events.ReportCause> = object({
  kind: oneOf("restart", "reconnect", "command"),
  command_id: optional(text(64)),
  by: optional(text(256)),
});

/** `cameraRecordSchema` */
export const isCameraRecord: Guard<CameraRecord> = object({
  name: optional(text()),
  notes: optional(text()),
  location: optional(object({ lat: number(-90, 90), lon: number(-180, 180) })),
  tags: list(text(), Number.POSITIVE_INFINITY),
  groups: list(object({ id: isIdText, name: text() }), Number.POSITIVE_INFINITY),
});

/** `captureCompletedSchema` */
export const isCaptureCompleted: Guard<events.CaptureCompleted> = object({
  capture: isIdText,
  width: whole(1),
  height: whole(1),
  size_bytes: whole(0),
  settings: optional(isCameraSettings),
});

/** `captureFailedSchema` */
export const isCaptureFailed: Guard<events.CaptureFailed> = object({
  capture: optional(isIdText),
  error: text(2000),
  failures: whole(1),
});

/** `captureProgressSchema` */
export const isCaptureProgress: Guard<events.CaptureProgress> = object({
  active: isFlag,
  next_capture_at: time,
  captures_completed: whole(0),
  captures_total: optional(whole(1)),
});

/** `previewUpdatedSchema` */
export const isPreviewUpdated: Guard<events.PreviewUpdated> = object({
  capture: isIdText,
  url: text(),
  etag: text(),
  size_bytes: whole(1),
  taken_at: time,
});

/** `previewListSchema` */
export const isPreviewList: Guard<events.PreviewList> = object({
  camera: isIdText,
  total: whole(0),
  previews: list(
    object<events.PreviewList["previews"][number]>({
      capture: isIdText,
      taken_at: isTimestamp,
      url: text(),
      etag: text(),
      size_bytes: whole(1),
    }),
    Number.POSITIVE_INFINITY,
  ),
  next: optional(text()),
});

/** `environmentSchema` */
export const isEnvironment: Guard<events.Environment> = object({
  sun_elevation: number(),
  sun_azimuth: number(),
  next_golden_hour: time,
  temperature_c: optional(number()),
  humidity_percent: optional(percent),
  cloud_percent: optional(percent),
  wind_ms: optional(number(0)),
});

/** `storageSchema` */
export const isStorage: Guard<events.Storage> = object({
  total_bytes: whole(1),
  free_bytes: whole(0),
  alert_percent: optional(number()),
  unwritable: optional(text(500)),
});

/** `powerSchema` */
export const isPower: Guard<events.Power> = object({
  source: oneOf("mains", "battery", "solar"),
  battery_percent: optional(percent),
});

/** `resourcesSchema` */
export const isResources: Guard<events.Resources> = object({
  cpu_percent: percent,
  memory_bytes: whole(0),
  temperature_c: optional(number()),
});

/** `systemStatusSchema` */
export const isSystemStatus: Guard<events.SystemStatus> = object({
  service: text(),
  status: oneOf("ok", "degraded"),
  version: text(),
  started_at: isTimestamp,
  reason: optional(text()),
  clock: optional(object({ ahead_seconds: number(), noticed_at: isTimestamp, message: text() })),
});

const output = oneOf("1080p", "4k");

function isWebAddress(address: string): boolean {
  return URL.canParse(address) && ["http:", "https:"].includes(new URL(address).protocol);
}

/** `filmSchema` */
const isFilm: Guard<events.Film> = object({
  output,
  url: either(refined(text(2000), isWebAddress), refined(text(2000), pattern(/^\/(?![/\\])/))),
  size_bytes: whole(1),
  width: whole(1),
  height: whole(1),
  frames: whole(1),
  duration_s: isPositive,
});

/** `jobSchema` */
export const isJob: Guard<events.Job> = object({
  job: isIdText,
  type: oneOf("image_processing", "timelapse_assembly"),
  status: oneOf("queued", "processing", "completed", "failed"),
  progress: percent,
  camera: optional(isIdText),
  outputs: optional(list(output, 8)),
  films: optional(list(isFilm, 8)),
  error: optional(text(2000)),
  simulated: optional(isFlag),
});

/** `alertSchema` */
export const isAlert: Guard<events.Alert> = object({
  alert: isIdText,
  severity: oneOf("info", "warning", "critical"),
  message: text(2000),
});

/** `alertNoteSchema` */
export const isAlertNote: Guard<events.AlertNoteData> = object({
  alert: isIdText,
  by: text(200),
  at: isTimestamp,
  until: time,
  camera: optional(isIdText),
});

/** `linkGapSchema` */
export const isLinkGap: Guard<events.LinkGap> = object({
  reason: oneOf("dropped", "missing"),
  count: whole(1),
  from: isTimestamp,
  to: isTimestamp,
  session: optional(text()),
  first_seq: optional(whole(1)),
  last_seq: optional(whole(1)),
  filled: optional(isFlag),
});

/** `linkGapsSchema` */
export const isLinkGaps: Guard<events.LinkGaps> = object({ gaps: list(isLinkGap, 32) });

type Entry = Schedule["entries"][number];
type SolarEntry = Extract<Entry, { kind: "solar" }>;

const interval = number(1, 86_400);

const isSolarEntry: Guard<SolarEntry> = object({
  kind: oneOf("solar"),
  anchor: oneOf("sunrise", "sunset", "golden_hour", "blue_hour"),
  when: optional(oneOf("morning", "evening")),
  offset_min: number(-720, 720),
  duration_min: refined(number(0, 1440), isPositive),
  interval_s: interval,
});

/** A day has one sunrise and one sunset. */
function hasFittingHour({ anchor, when }: SolarEntry): boolean {
  return when === undefined || anchor === "golden_hour" || anchor === "blue_hour";
}

const clockTime = pattern(/^([01]\d|2[0-3]):[0-5]\d$/);

const isClockEntry: Guard<Extract<Entry, { kind: "clock" }>> = object({
  kind: oneOf("clock"),
  start: clockTime,
  end: clockTime,
  days: optional(list(whole(1, 7), 7, 1)),
  interval_s: interval,
});

/** `scheduleSchema` */
export const isSchedule: Guard<Schedule> = object({
  entries: list(either(refined(isSolarEntry, hasFittingHour), isClockEntry), 32),
});

type Desired<Value> = Omit<NonNullable<DesiredState["schedule"]>, "value"> & { value: Value };

function isDesired<Value>(isValid: Guard<Value>): Guard<Desired<Value>> {
  return object<Desired<Value>>({
    version: whole(1),
    value: isValid,
    by: text(256),
    at: isTimestamp,
    status: oneOf("pending", "applied", "differs", "failed"),
    differs_since: time,
    error: optional(text(2000)),
  });
}

/** `settingsChangeSchema`, as the backend stores a change: without the text "auto", for which null stands. */
const isWantedSettings: Guard<WantedSettings> = strict({
  exposure_s: wanted(MEMBERS_OF_SETTINGS.exposure_s),
  iso: wanted(MEMBERS_OF_SETTINGS.iso),
  exposure_compensation: wanted(MEMBERS_OF_SETTINGS.exposure_compensation),
  white_balance: wanted(MEMBERS_OF_SETTINGS.white_balance),
  quality: wanted(MEMBERS_OF_SETTINGS.quality),
  hdr: wanted(MEMBERS_OF_SETTINGS.hdr),
});

function wanted<Value>(isValid: Guard<Value>): Guard<Value | null | undefined> {
  return (value): value is Value | null | undefined => value === undefined || value === null || isValid(value);
}

/** `desiredStateSchema` */
export const isDesiredState: Guard<DesiredState> = object({
  schedule: optional(isDesired(isSchedule)),
  settings: optional(isDesired(isWantedSettings)),
});
