import type { z } from "zod";
import { scheduleSchema } from "../../contract/commands.ts";
import { desiredStateSchema } from "../../contract/desired.ts";
import * as contract from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { DESIRED_STATE, GAPS_STATE, PRESENCE_STATE } from "../../contract/topics.ts";

/** A value and the time when its sender sent it. */
export interface Known<Value> {
  value: Value;
  /** RFC 3339, UTC. */
  at: string;
}

const SCHEMAS = {
  about: contract.cameraAboutSchema,
  presence: contract.presenceSchema,
  environment: contract.environmentSchema,
  storage: contract.storageSchema,
  power: contract.powerSchema,
  resources: contract.resourcesSchema,
  settings: contract.cameraSettingsSchema,
  schedule: scheduleSchema,
  desired: desiredStateSchema,
  progress: contract.captureProgressSchema,
  gaps: contract.linkGapsSchema,
  preview: contract.previewUpdatedSchema,
  lastCapture: contract.captureCompletedSchema,
  lastFailure: contract.captureFailedSchema,
};
type Field = keyof typeof SCHEMAS;
type Fields = { [Name in Field]?: Known<z.infer<(typeof SCHEMAS)[Name]>> };

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
  const read = SCHEMAS[field].safeParse(event.data);
  const known = read.success ? { [field]: { value: read.data, at: event.timestamp } } : {};
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
  const cause = contract.reportedSettingsSchema.shape.cause.parse(memberOf(event.data, "cause"));
  if (cause !== undefined) return cause.kind !== "command";
  const before = camera?.[field]?.value;
  const now = SCHEMAS[field].safeParse(event.data).data;
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
