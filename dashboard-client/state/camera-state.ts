import type { z } from "zod";
import { type Schedule, scheduleSchema } from "../../contract/commands.ts";
import {
  type CameraAbout,
  type CameraSettings,
  type CaptureCompleted,
  type CaptureFailed,
  type CaptureProgress,
  cameraAboutSchema,
  cameraSettingsSchema,
  captureCompletedSchema,
  captureFailedSchema,
  captureProgressSchema,
  type Environment,
  environmentSchema,
  type LinkGaps,
  linkGapsSchema,
  type Power,
  type Presence,
  type PreviewUpdated,
  powerSchema,
  presenceSchema,
  previewUpdatedSchema,
  type Resources,
  resourcesSchema,
  type Storage,
  storageSchema,
} from "../../contract/events.ts";
import type { DashboardEvent } from "../../contract/socket-messages.ts";
import { GAPS_STATE, PRESENCE_STATE } from "../../contract/topics.ts";

/** A value and the time when its sender sent it. No other time is shown as "last updated". */
export interface Known<Value> {
  value: Value;
  /** RFC 3339, UTC. */
  at: string;
}

/**
 * The state of one camera. A field is missing if the camera has not sent it, or has sent it in a form that the contract
 * does not allow.
 */
export interface CameraState {
  id: string;
  about?: Known<CameraAbout>;
  presence?: Known<Presence>;
  environment?: Known<Environment>;
  storage?: Known<Storage>;
  power?: Known<Power>;
  resources?: Known<Resources>;
  settings?: Known<CameraSettings>;
  schedule?: Known<Schedule>;
  progress?: Known<CaptureProgress>;
  /** Events of the last 48 hours that the backend never received. */
  gaps?: Known<LinkGaps>;
  preview?: Known<PreviewUpdated>;
  lastCapture?: Known<CaptureCompleted>;
  lastFailure?: Known<CaptureFailed>;
  /**
   * When the picture with this etag was taken. The time is from the capture event, otherwise from the picture's name.
   */
  pictureTaken?: { etag: string; at: string };
}

type Fields = Omit<CameraState, "id" | "pictureTaken">;
type Reader = (camera: CameraState, event: DashboardEvent) => CameraState;

/** Sets one field, or removes it if the state was cleared or is not valid. */
function field<Name extends keyof Fields>(name: Name, schema: z.ZodType<NonNullable<Fields[Name]>["value"]>): Reader {
  return (camera, event) => {
    const { [name]: _, ...rest } = camera;
    const read = schema.safeParse(event.data);
    return read.success
      ? { ...rest, id: camera.id, [name]: { value: read.data, at: event.timestamp } }
      : { ...rest, id: camera.id };
  };
}

const aboutReader = field("about", cameraAboutSchema);

const STATE_READERS: ReadonlyMap<string, Reader> = new Map([
  [PRESENCE_STATE, field("presence", presenceSchema)],
  [GAPS_STATE, field("gaps", linkGapsSchema)],
  ["environment", field("environment", environmentSchema)],
  ["storage", field("storage", storageSchema)],
  ["power", field("power", powerSchema)],
  ["resources", field("resources", resourcesSchema)],
  ["settings", field("settings", cameraSettingsSchema)],
  ["schedule", field("schedule", scheduleSchema)],
  ["capture", field("progress", captureProgressSchema)],
]);

/** Events whose latest occurrence is kept as state, although their topics are not retained. */
const LATEST_READERS: ReadonlyMap<string, Reader> = new Map([
  ["preview.updated", field("preview", previewUpdatedSchema)],
  ["capture.completed", field("lastCapture", captureCompletedSchema)],
  ["capture.failed", field("lastFailure", captureFailedSchema)],
]);

export function applyAbout(camera: CameraState, event: DashboardEvent): CameraState {
  return aboutReader(camera, event);
}

/** Applies a retained state. A state for which the camera has no field changes nothing. */
export function applyState(camera: CameraState, name: string, event: DashboardEvent): CameraState {
  return STATE_READERS.get(name)?.(camera, event) ?? camera;
}

/** Whether {@link CameraState} has a field for the state with this name. */
export function isKnownState(name: string): boolean {
  return STATE_READERS.has(name);
}

export function isLatest(event: DashboardEvent): boolean {
  return LATEST_READERS.has(event.event);
}

/**
 * Applies the preview or capture that arrived last, even if its time is earlier: the sender's clock may have been set
 * back. When a client resumes, the server sends earlier events again. Such events have both an older position and an
 * older time, and are ignored.
 * @param held the latest event so far
 */
export function applyLatest(camera: CameraState, event: DashboardEvent, held: DashboardEvent | undefined): CameraState {
  const reader = LATEST_READERS.get(event.event);
  if (reader === undefined) return camera;
  // The position alone does not show which event is newer: positions start again in a new epoch of the journal.
  const isOlder = held !== undefined && Date.parse(event.timestamp) < Date.parse(held.timestamp);
  if (isOlder && event.position <= held.position) return camera;
  const next = reader(camera, event);
  for (const name of ["preview", "lastCapture", "lastFailure"] as const)
    if (camera[name] !== undefined && next[name] === undefined) return camera;
  const { preview, lastCapture } = next;
  if (preview === undefined) return next;
  const sameCapture = preview.value.capture === lastCapture?.value.capture;
  // The capture event of this picture has already set the time. A later capture must not change that time.
  if (!sameCapture && next.pictureTaken?.etag === preview.value.etag) return next;
  const at = sameCapture ? lastCapture?.at : preview.value.taken_at;
  return at === undefined ? next : { ...next, pictureTaken: { etag: preview.value.etag, at } };
}
