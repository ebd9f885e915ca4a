import { z } from "zod";
import { cameraSettingsSchema } from "./camera-about.ts";
import { eventNameSchema, idSchema, isId } from "./ids.ts";
import { outlineOf, textIn } from "./json-text.ts";
import type { AlertNote, Topic } from "./topics.ts";

export * from "./camera-about.ts";

export { JOB_REQUEST_EVENT } from "./event-names.ts";

/** The deepest accepted nesting of arrays and objects. `JSON.stringify` overflows the stack near 10,000 levels. */
export const MAX_JSON_DEPTH = 32;

/** A time as RFC 3339 in UTC, ending in `Z`. Other zones are refused, so that times can be compared as text. */
export const timestampSchema = z.iso.datetime({
  message: "must be an RFC 3339 time in UTC, such as 2026-03-01T06:30:00.000Z",
});

const percent = z.number().min(0).max(100);

/**
 * The link state that a camera or service publishes. `session` identifies the sender's boot. The sender's MQTT will has
 * the status `offline`.
 */
export const linkSchema = z.object({
  status: z.enum(["online", "offline", "sleeping"]),
  session: z.string().min(1).max(64),
  /** With `sleeping`: when the camera plans to reconnect. */
  until: timestampSchema.optional(),
});
export type Link = z.infer<typeof linkSchema>;

/** A camera's presence, derived by the backend and published retained at `cameras/{camera}/state/presence`. */
export const presenceSchema = z.object({
  /**
   * - `never_seen`: the camera is registered and has never connected.
   * - `unknown`: the backend restarted, and the camera may still reconnect within the grace period.
   * - `stale`: the camera is connected but has not captured for twice its interval.
   * - `overslept`: the camera announced a sleep and did not reconnect at `until`.
   */
  status: z.enum(["never_seen", "unknown", "online", "offline", "sleeping", "overslept", "stale"]),
  /** When the status began. `offline` begins when the link broke, before the grace period. */
  since: timestampSchema,
  /** With `sleeping` and `overslept`: when the camera planned to reconnect. */
  until: timestampSchema.optional(),
  session: z.string().optional(),
  /** When the backend last received a packet; at most a minute old while the camera is connected. Survives restarts. */
  last_heard_at: timestampSchema.optional(),
  /** When the link broke, if the camera is disconnected and has not announced a sleep. Survives restarts. */
  offline_since: timestampSchema.optional(),
});
export type Presence = z.infer<typeof presenceSchema>;

export const captureCompletedSchema = z.object({
  capture: idSchema,
  width: z.number().int().positive(),
  height: z.number().int().positive(),
  size_bytes: z.number().int().nonnegative(),
  settings: cameraSettingsSchema.optional(),
});
export type CaptureCompleted = z.infer<typeof captureCompletedSchema>;

export const captureStartedSchema = z.object({ capture: idSchema });

export const captureFailedSchema = z.object({
  capture: idSchema.optional(),
  error: z.string().max(2000),
  failures: z.number().int().positive(),
});
export type CaptureFailed = z.infer<typeof captureFailedSchema>;

export const captureProgressSchema = z.object({
  active: z.boolean(),
  next_capture_at: timestampSchema.optional(),
  captures_completed: z.number().int().nonnegative(),
  captures_total: z.number().int().positive().optional(),
});
export type CaptureProgress = z.infer<typeof captureProgressSchema>;

export const previewUpdatedSchema = z.object({
  capture: idSchema,
  /** Path on the bridge's HTTP port; reading it needs a token. */
  url: z.string(),
  etag: z.string(),
  size_bytes: z.number().int().positive(),
  /** When the picture was taken. Present if the capture id contains the time, as a ULID does. */
  taken_at: timestampSchema.optional(),
});
export type PreviewUpdated = z.infer<typeof previewUpdatedSchema>;

/** The response of `GET /cameras/{id}/previews`: the camera's pictures of the last 48 hours, newest first. */
export const previewListSchema = z.object({
  camera: idSchema,
  /** The number of pictures on all pages. */
  total: z.number().int().nonnegative(),
  previews: z.array(
    z.object({
      capture: idSchema,
      /** When the picture was taken, if its capture id contains the time; otherwise when it arrived. */
      taken_at: timestampSchema,
      /** Path on the bridge's HTTP port; reading it needs a token. */
      url: z.string(),
      etag: z.string(),
      size_bytes: z.number().int().positive(),
    }),
  ),
  /** The path of the next page; absent on the last page. */
  next: z.string().optional(),
});
export type PreviewList = z.infer<typeof previewListSchema>;

export const environmentSchema = z.object({
  /** Degrees above the horizon. */
  sun_elevation: z.number(),
  /** Degrees clockwise from north. */
  sun_azimuth: z.number(),
  next_golden_hour: timestampSchema.optional(),
  temperature_c: z.number().optional(),
  humidity_percent: percent.optional(),
  cloud_percent: percent.optional(),
  wind_ms: z.number().nonnegative().optional(),
});
export type Environment = z.infer<typeof environmentSchema>;

export const storageSchema = z.object({
  total_bytes: z.number().int().positive(),
  free_bytes: z.number().int().nonnegative(),
  /** The used share of the disk above which the alert `disk` is raised, percent. Default: the backend's own limit. */
  alert_percent: z.number().optional(),
  /** Why the disk cannot be written, if so. Meanwhile, the camera keeps new messages only in memory. */
  unwritable: z.string().max(500).optional(),
});
export type Storage = z.infer<typeof storageSchema>;

export const powerSchema = z.object({
  source: z.enum(["mains", "battery", "solar"]),
  battery_percent: percent.optional(),
});
export type Power = z.infer<typeof powerSchema>;

export const resourcesSchema = z.object({
  cpu_percent: percent,
  memory_bytes: z.number().int().nonnegative(),
  temperature_c: z.number().optional(),
});
export type Resources = z.infer<typeof resourcesSchema>;

export const clockJumpSchema = z.object({
  /** Seconds by which the system clock is ahead of the server's own clock; negative if behind. */
  ahead_seconds: z.number(),
  /** When the server noticed the jump, by the system clock. */
  noticed_at: timestampSchema,
  /** For an operator: what happened, and what to do. */
  message: z.string(),
});
export type ClockJump = z.infer<typeof clockJumpSchema>;

/** The backend's own status, published at `system/status`. */
export const systemStatusSchema = z.object({
  service: z.string(),
  status: z.enum(["ok", "degraded"]),
  version: z.string(),
  started_at: timestampSchema,
  reason: z.string().optional(),
  /** An unconfirmed jump of the system clock. Until the jump is confirmed, nothing expires because of it. */
  clock: clockJumpSchema.optional(),
});
export type SystemStatus = z.infer<typeof systemStatusSchema>;

const outputSchema = z.enum(["1080p", "4k"]);

/** A film that a processing service made and serves. */
export const filmSchema = z.object({
  output: outputSchema,
  /** An address, or a path such as `/films/north.1080p-7f3a.mp4` below the address of the server. */
  url: z.union([
    z.url({ protocol: /^https?$/ }).max(2000),
    z
      .string()
      .max(2000)
      .regex(/^\/(?![/\\])/, "must be a path"),
  ]),
  size_bytes: z.number().int().positive(),
  /** Pixels. A film is never larger than its pictures. */
  width: z.number().int().positive(),
  height: z.number().int().positive(),
  frames: z.number().int().positive(),
  duration_s: z.number().positive(),
});
export type Film = z.infer<typeof filmSchema>;

export const jobSchema = z.object({
  job: idSchema,
  type: z.enum(["image_processing", "timelapse_assembly"]),
  status: z.enum(["queued", "processing", "completed", "failed"]),
  progress: percent,
  camera: idSchema.optional(),
  outputs: z.array(outputSchema).max(8).optional(),
  /** Only with the status `completed`: one film for each output. */
  films: z.array(filmSchema).max(8).optional(),
  error: z.string().max(2000).optional(),
  /** True for a demonstration job, which makes no film. */
  simulated: z.boolean().optional(),
});
export type Job = z.infer<typeof jobSchema>;

/** `job.requested`. A service ignores a second request for a job that it knows. */
export const jobRequestSchema = z.object({
  /** The id that the job will have; the requester chooses it. */
  job: idSchema,
  /** The service that shall do the job. Default: every service that hears the request. */
  service: idSchema.optional(),
  camera: idSchema,
  /** The times of the first and last picture, inclusive. */
  from: timestampSchema,
  to: timestampSchema,
  /** Default: one film of at most 1920 × 1080 pixels. */
  outputs: z.array(outputSchema).min(1).max(2).optional(),
  /** Pictures per second of the film. Default 25. */
  fps: z.number().int().min(1).max(60).optional(),
});
export type JobRequest = z.infer<typeof jobRequestSchema>;

export const alertSchema = z.object({
  alert: idSchema,
  severity: z.enum(["info", "warning", "critical"]),
  message: z.string().max(2000),
});
export type Alert = z.infer<typeof alertSchema>;

/**
 * What a person did about an alert: the state of the topic `alerts/{name}/acknowledgement` or `alerts/{name}/mute`. An
 * acknowledgement ends with its alert. A mute outlasts its alert until its own end.
 */
export const alertNoteSchema = z.object({
  alert: idSchema,
  /** Who did it: `user:alice` or `operator`. */
  by: z.string().max(200),
  at: timestampSchema,
  /** Only of a mute, which has ended at this time. */
  until: timestampSchema.optional(),
  /** The camera that the alert of a processing service names. */
  camera: idSchema.optional(),
});
export type AlertNoteData = z.infer<typeof alertNoteSchema>;

export const ALERT_ACKNOWLEDGED_EVENT = "alert.acknowledged";
export const ALERT_MUTED_EVENT = "alert.muted";
export const ALERT_UNMUTED_EVENT = "alert.unmuted";

/** Alerts that the backend raises and clears for cameras. */
export const CAMERA_ALERTS = [
  "offline",
  "overslept",
  "no-capture",
  "battery",
  "disk",
  "disk-writes",
  "failures",
  "duplicate-client-id",
] as const;
export type CameraAlertName = (typeof CAMERA_ALERTS)[number];

/** Alerts that the backend raises and clears for processing services. */
export const SERVICE_ALERTS = ["job-queue", "worker-silent"] as const;
export type ServiceAlertName = (typeof SERVICE_ALERTS)[number];

/** Messages that a camera dropped before sending. Dropped messages never had a sequence number. */
export const outboxDroppedSchema = z.object({
  count: z.number().int().positive(),
  /** The times of the first and last dropped message. */
  from: timestampSchema,
  to: timestampSchema,
});

export const LINK_GAP_EVENT = "link.gap";
export const PUBLICATION_REFUSED_EVENT = "publication.refused";

/**
 * `link.gap`: messages of a camera that never arrived. The backend publishes each gap once, when the gap is certain.
 * If all missing messages arrive later, the backend publishes the gap again, with `filled`.
 */
export const linkGapSchema = z.object({
  /** `dropped`: the camera's outbox was full, and the camera reported it. `missing`: sequence numbers never arrived. */
  reason: z.enum(["dropped", "missing"]),
  count: z.number().int().positive(),
  /** The times of the first and last lost message. For `missing`, the times of the neighbouring messages. */
  from: timestampSchema,
  to: timestampSchema,
  /** The camera's boot in which the gap was noticed, if known. */
  session: z.string().optional(),
  /** With `missing`: the first and last missing `seq` of the envelope, inclusive. */
  first_seq: z.number().int().positive().optional(),
  last_seq: z.number().int().positive().optional(),
  /** True once all missing messages have arrived. */
  filled: z.boolean().optional(),
});
export type LinkGap = z.infer<typeof linkGapSchema>;

/** A camera's state `gaps`: the gaps of the last 48 hours, newest last. */
export const linkGapsSchema = z.object({ gaps: z.array(linkGapSchema).max(32) });
export type LinkGaps = z.infer<typeof linkGapsSchema>;

/** `error.occurred`: a camera could not do something that no other event reports. */
export const errorOccurredSchema = z.object({
  /** The part that failed, such as `preview` or `outbox`. */
  source: z.string(),
  error: z.string(),
  capture: idSchema.optional(),
});

export const REFUSAL_REASONS = [
  "not_allowed",
  "bad_topic",
  "too_large",
  "too_deep",
  "bad_picture",
  "bad_payload",
  "no_channel",
  "no_room",
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

/**
 * `publication.refused`: the backend acknowledged a publication but did not keep it. Sent at most once a minute per reason.
 * With `no_room` the backend kept the publication as an event, but not as the state of its topic.
 */
export const publicationRefusedSchema = z.object({
  reason: z.enum(REFUSAL_REASONS),
  /** For people: the topic of the newest refused publication, and what is wrong with the publication. */
  message: z.string(),
  topic: z.string(),
  /** The number of refused publications since the last such event. */
  count: z.number().int().positive(),
});
export type PublicationRefused = z.infer<typeof publicationRefusedSchema>;

/** The event names that this system itself sends. Other names pass through unchanged. */
export const EVENTS = [
  ...["system.status", "resource.update", "environmental.update"],
  ...["capture.started", "capture.progress", "capture.completed", "capture.failed", "preview.updated"],
  ...["job.requested", "job.progress", "job.completed", "job.failed"],
  ...["schedule.updated", "settings.applied", "camera.about", "camera.record"],
  ...["camera.online", "camera.offline", "camera.sleeping", "camera.stale"],
  ...["camera.unknown", "camera.overslept", "camera.never_seen"],
  ...["alert.raised", "alert.cleared", ALERT_ACKNOWLEDGED_EVENT, ALERT_MUTED_EVENT, ALERT_UNMUTED_EVENT],
  ...["state.updated", "state.cleared", "error.occurred"],
  ...["link.gap", "outbox.dropped", "publication.refused", "service.link"],
] as const;
type EventName = (typeof EVENTS)[number];

/** The payload that a device or service publishes. */
export const envelopeSchema = z.object({
  v: z.literal(1),
  /** A ULID, or another id that the sender uses once. Two messages with one id are one event. */
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"),
  timestamp: timestampSchema,
  /** Names one boot of the sender. */
  session: z.string().min(1).max(64).optional(),
  /** The sequence number of the message, from 1. The numbering continues after a reboot. */
  seq: z.number().int().positive().optional(),
  event: eventNameSchema,
  data: z.unknown().optional(),
  /** True for a late message from a backlog. Such a message enters the history and never overwrites state. */
  historical: z.boolean().optional(),
});
export type Envelope = z.infer<typeof envelopeSchema>;

/** A parsed message, with or without an envelope. */
export interface Publication {
  event: string;
  data: unknown;
  /** The JSON text of `data`, so that `data` need not be encoded again. Undefined if the payload was not JSON. */
  dataText: string | undefined;
  timestamp: string;
  /** Undefined without an envelope, so that a repetition cannot be recognised. */
  id: string | undefined;
  session: string | undefined;
  seq: number | undefined;
  historical: boolean;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Parses a payload; never throws.
 * - JSON without an envelope becomes `data`, with the topic's usual event name.
 * - Text, and JSON nested deeper than {@link MAX_JSON_DEPTH}, becomes `{"text": …}`.
 * - Bytes that are not UTF-8 become `{"bytes": length}`.
 * - An empty payload clears a retained topic: `data` is null.
 * @param receivedAt the timestamp for a payload without an envelope, milliseconds since 1970
 */
export function readPublication(topic: Topic, payload: Uint8Array, receivedAt: number): Publication {
  const { data, text, ownDataText } = decode(payload);
  const envelope = envelopeIn(data);
  if (envelope !== undefined) {
    const { event, timestamp, id, session, seq, historical = false } = envelope;
    return { event, data: envelope.data ?? null, dataText: ownDataText, timestamp, id, session, seq, historical };
  }
  return {
    event: usualEvent(topic, data),
    data,
    dataText: data === null ? undefined : text?.trim(),
    timestamp: new Date(receivedAt).toISOString(),
    id: undefined,
    session: undefined,
    seq: undefined,
    historical: false,
  };
}

/** The camera that is named in the data of a job, an alert or a broadcast: `{"camera": "north"}`. */
export function cameraNamedIn(data: unknown): string | undefined {
  const named = typeof data === "object" && data !== null && "camera" in data ? data.camera : undefined;
  return typeof named === "string" && isId(named) ? named : undefined;
}

export function cameraNamedInPayload(payload: Uint8Array): string | undefined {
  const { data } = decode(payload);
  const envelope = envelopeIn(data);
  return cameraNamedIn(envelope === undefined ? data : envelope.data);
}

function envelopeIn(data: unknown): Envelope | undefined {
  const isLikely = typeof data === "object" && data !== null && "v" in data && "event" in data;
  return isLikely ? envelopeSchema.safeParse(data).data : undefined;
}

interface Decoded {
  data: unknown;
  /** The payload, if it is JSON. */
  text: string | undefined;
  /** The text of the payload's member `data`, if there is one. */
  ownDataText: string | undefined;
}

function decode(payload: Uint8Array): Decoded {
  const noJson = { text: undefined, ownDataText: undefined };
  if (payload.length === 0) return { data: null, ...noJson };
  let text: string;
  try {
    text = utf8.decode(payload);
  } catch {
    return { data: { bytes: payload.length }, ...noJson };
  }
  const outline = outlineOf(text, "data");
  if (outline.depth > MAX_JSON_DEPTH) return { data: { text }, ...noJson };
  try {
    return { data: JSON.parse(text), text, ownDataText: textIn(text, outline) };
  } catch {
    return { data: { text }, ...noJson };
  }
}

/** The event name of a payload without an envelope, derived from its topic. */
export function usualEvent(topic: Topic, data: unknown): string {
  const cleared = data === null;
  switch (topic.kind) {
    case "camera-event":
    case "service-event":
    case "channel-event":
      return topic.event;
    case "camera-about":
      return cleared ? "state.cleared" : "camera.about";
    case "camera-alert":
    case "service-alert":
      return cleared ? "alert.cleared" : "alert.raised";
    case "camera-alert-note":
    case "service-alert-note":
      return cleared ? "state.cleared" : noteEvent(topic.note);
    case "camera-preview":
      return "preview.updated";
    case "camera-state":
      return cleared ? "state.cleared" : (STATE_EVENTS.get(topic.name) ?? "state.updated");
    case "service-job":
      return cleared ? "state.cleared" : jobEvent(data);
    case "service-link":
      return cleared ? "state.cleared" : "service.link";
    case "system":
      if (topic.name === "status") return "system.status";
      return topic.name === "resources" ? "resource.update" : "state.updated";
    case "camera-link":
    case "camera-command":
    case "camera-reply":
    case "camera-other":
    case "service-other":
    case "home-assistant":
      return "state.updated";
  }
}

const STATE_EVENTS: ReadonlyMap<string, EventName> = new Map([
  ["environment", "environmental.update"],
  ["settings", "settings.applied"],
  ["schedule", "schedule.updated"],
  ["storage", "resource.update"],
  ["power", "resource.update"],
  ["capture", "capture.progress"],
  ["record", "camera.record"],
]);

function noteEvent(note: AlertNote): EventName {
  return note === "mute" ? ALERT_MUTED_EVENT : ALERT_ACKNOWLEDGED_EVENT;
}

function jobEvent(data: unknown): EventName {
  const status = typeof data === "object" && data !== null && "status" in data ? data.status : undefined;
  return status === "completed" ? "job.completed" : status === "failed" ? "job.failed" : "job.progress";
}
