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

/** A value and the time its sender gave it: the only "last updated" there is. */
export interface Known<Value> {
  value: Value;
  /** RFC 3339, UTC. */
  at: string;
}

/** What is known of one camera. What it has not said, or not in a form of the contract, is missing. */
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
  /** What of the last 48 hours never arrived, by the backend's word. */
  gaps?: Known<LinkGaps>;
  preview?: Known<PreviewUpdated>;
  lastCapture?: Known<CaptureCompleted>;
  lastFailure?: Known<CaptureFailed>;
  /** When the picture of that etag was taken: by the word of its capture, else by its name. */
  pictureTaken?: { etag: string; at: string };
}

type Fields = Omit<CameraState, "id" | "pictureTaken">;
type Reader = (camera: CameraState, event: DashboardEvent) => CameraState;

/** Writes one field, or removes it when the state was cleared or says nothing that is understood. */
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

/** Events of which the latest says how things stand, though their topics are not retained. */
const LATEST_READERS: ReadonlyMap<string, Reader> = new Map([
  ["preview.updated", field("preview", previewUpdatedSchema)],
  ["capture.completed", field("lastCapture", captureCompletedSchema)],
  ["capture.failed", field("lastFailure", captureFailedSchema)],
]);

export function applyAbout(camera: CameraState, event: DashboardEvent): CameraState {
  return aboutReader(camera, event);
}

/** States that this client has no field for change nothing. */
export function applyState(camera: CameraState, name: string, event: DashboardEvent): CameraState {
  return STATE_READERS.get(name)?.(camera, event) ?? camera;
}

/** Whether this client has a field for a camera's state of that name. */
export function isKnownState(name: string): boolean {
  return STATE_READERS.has(name);
}

export function isLatest(event: DashboardEvent): boolean {
  return LATEST_READERS.has(event.event);
}

/**
 * Takes the preview or capture that came last: its sender's clock may have been set meanwhile. What was sent before is
 * sent again where a client resumes, and is the latest no more: then both its position and its time are older.
 * @param held the event that was the latest until now
 */
export function applyLatest(camera: CameraState, event: DashboardEvent, held: DashboardEvent | undefined): CameraState {
  const reader = LATEST_READERS.get(event.event);
  if (reader === undefined) return camera;
  // By both: in another epoch of the journal positions begin anew.
  const isOlder = held !== undefined && Date.parse(event.timestamp) < Date.parse(held.timestamp);
  if (isOlder && event.position <= held.position) return camera;
  const next = reader(camera, event);
  for (const name of ["preview", "lastCapture", "lastFailure"] as const)
    if (camera[name] !== undefined && next[name] === undefined) return camera;
  const { preview, lastCapture } = next;
  if (preview === undefined) return next;
  const sameCapture = preview.value.capture === lastCapture?.value.capture;
  // Once its capture has said when it was taken, the next capture does not change that.
  if (!sameCapture && next.pictureTaken?.etag === preview.value.etag) return next;
  const at = sameCapture ? lastCapture?.at : preview.value.taken_at;
  return at === undefined ? next : { ...next, pictureTaken: { etag: preview.value.etag, at } };
}
