import type { CameraAbout } from "../../contract/events.ts";
import type { Guard } from "../../contract/guards.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import * as guards from "../../contract/state-guards.ts";
import { DESIRED_STATE, GAPS_STATE, PRESENCE_STATE, RECORD_STATE } from "../../contract/topics.ts";

/** A value and the time when its sender sent it. */
export interface Known<Value> {
  value: Value;
  /** RFC 3339, UTC. */
  at: string;
}

/** Each returns a valid value, and undefined for an invalid one. */
const READERS = {
  about: readCameraAbout,
  presence: guarded(guards.isPresence),
  environment: guarded(guards.isEnvironment),
  storage: guarded(guards.isStorage),
  power: guarded(guards.isPower),
  resources: guarded(guards.isResources),
  settings: withoutCause(guards.isCameraSettings),
  schedule: withoutCause(guards.isSchedule),
  desired: guarded(guards.isDesiredState),
  record: guarded(guards.isCameraRecord),
  progress: guarded(guards.isCaptureProgress),
  gaps: guarded(guards.isLinkGaps),
  preview: guarded(guards.isPreviewUpdated),
  lastCapture: guarded(guards.isCaptureCompleted),
  lastFailure: guarded(guards.isCaptureFailed),
};
type Field = keyof typeof READERS;
type Fields = { [Name in Field]?: Known<NonNullable<ReturnType<(typeof READERS)[Name]>>> };

function guarded<Value>(isValid: Guard<Value>): (data: unknown) => Value | undefined {
  return (data) => (isValid(data) ? data : undefined);
}

/** The cause of a report is not a part of what is reported: see {@link isRepeatedReport}. */
function withoutCause<Value extends object>(isValid: Guard<Value>): (data: unknown) => Value | undefined {
  return (data) => {
    if (!isValid(data)) return undefined;
    const { cause: _cause, ...rest } = data as Value & { cause?: unknown };
    return rest as Value;
  };
}

/** Ignores invalid capabilities, which a newer camera may have. */
function readCameraAbout(data: unknown): CameraAbout | undefined {
  if (!guards.isCameraAbout(data)) return undefined;
  const { capabilities, ...rest } = data;
  return guards.isCapabilities(capabilities) ? { ...rest, capabilities } : rest;
}

/** The state of one camera. A field is missing if the camera has not sent it, or has sent it in an invalid form. */
export interface CameraState extends Fields {
  id: string;
  /**
   * When the picture with this etag was taken: the time of its capture event or, without that event, the preview's
   * `taken_at`.
   */
  pictureTaken?: { etag: string; at: string };
}

const STATE_FIELDS: ReadonlyMap<string, Field> = new Map<string, Field>([
  [PRESENCE_STATE, "presence"],
  [GAPS_STATE, "gaps"],
  [DESIRED_STATE, "desired"],
  [RECORD_STATE, "record"],
  ["environment", "environment"],
  ["storage", "storage"],
  ["power", "power"],
  ["resources", "resources"],
  ["settings", "settings"],
  ["schedule", "schedule"],
  ["capture", "progress"],
]);

/** The fields of events whose topics are not retained, but whose latest occurrence is kept. */
const LATEST_FIELDS: ReadonlyMap<string, Field> = new Map<string, Field>([
  ["preview.updated", "preview"],
  ["capture.completed", "lastCapture"],
  ["capture.failed", "lastFailure"],
]);

/** Sets one field, or removes the field if the state was cleared or is invalid. */
function withField(camera: CameraState, field: Field, event: DashboardEvent): CameraState {
  const { [field]: _, ...rest } = camera;
  const value = READERS[field](event.data);
  const known = value === undefined ? {} : { [field]: { value, at: event.timestamp } };
  return { ...rest, id: camera.id, ...known };
}

export function applyAbout(camera: CameraState, event: DashboardEvent): CameraState {
  return withField(camera, "about", event);
}

export function applyState(camera: CameraState, name: string, event: DashboardEvent): CameraState {
  const field = STATE_FIELDS.get(name);
  return field === undefined ? camera : withField(camera, field, event);
}

/**
 * Whether the event only repeats the camera's schedule or settings, as after a restart. A sender that names no cause is
 * taken to repeat them unless the values differ from the last ones.
 * @param camera the state before the event
 */
export function isRepeatedReport(camera: CameraState | undefined, event: DashboardEvent): boolean {
  const field = event.event === "schedule.updated" ? "schedule" : "settings";
  const cause = memberOf(event.data, "cause");
  if (guards.isReportCause(cause)) return cause.kind !== "command";
  const before = camera?.[field]?.value;
  const now = READERS[field](event.data);
  return before === undefined || now === undefined || JSON.stringify(before) === JSON.stringify(now);
}

function memberOf(data: unknown, name: string): unknown {
  return typeof data === "object" && data !== null ? Reflect.get(data, name) : undefined;
}

export function isKnownState(name: string): boolean {
  return STATE_FIELDS.has(name);
}

export function isLatest(event: DashboardEvent): boolean {
  return LATEST_FIELDS.has(event.event);
}

/**
 * Applies the preview or capture that arrived last, even if its time is earlier, because the sender's clock may have been
 * set back. After a resume, the server may send earlier events again. These have an older position and an older time, and
 * are ignored.
 * @param held the latest event so far
 */
export function applyLatest(camera: CameraState, event: DashboardEvent, held: DashboardEvent | undefined): CameraState {
  const field = LATEST_FIELDS.get(event.event);
  if (field === undefined) return camera;
  // The position alone does not show which event is newer, because each epoch of the journal has its own positions.
  const isOlder = held !== undefined && Date.parse(event.timestamp) < Date.parse(held.timestamp);
  if (isOlder && event.position <= held.position) return camera;
  const next = withField(camera, field, event);
  if (camera[field] !== undefined && next[field] === undefined) return camera;
  const { preview, lastCapture } = next;
  if (preview === undefined) return next;
  const sameCapture = preview.value.capture === lastCapture?.value.capture;
  // The picture's own capture event has already set the time.
  if (!sameCapture && next.pictureTaken?.etag === preview.value.etag) return next;
  const at = sameCapture ? lastCapture?.at : preview.value.taken_at;
  return at === undefined ? next : { ...next, pictureTaken: { etag: preview.value.etag, at } };
}
