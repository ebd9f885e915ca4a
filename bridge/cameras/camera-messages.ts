import { z } from "zod";
import { CAMERA_ALERTS, captureProgressSchema, LINK_GAP_EVENT, type Link, linkSchema } from "../../contract/events.ts";
import { isBackendState, type Topic } from "../../contract/topics.ts";
import type { Entry, StateEntry } from "../journal/journal.ts";
import type { CaptureSchedule } from "./staleness.ts";

const bodySchema = z.object({ data: z.unknown(), timestamp: z.string(), historical: z.boolean().optional() });
export type Body = z.infer<typeof bodySchema>;

const aboutSchema = z.object({ capture_interval_s: z.number().positive() });
/** A camera's times are corrected if its clock differs by more than this from the server's clock, milliseconds. */
const CLOCK_TOLERANCE_MS = 5 * 60_000;
const BACKEND_ALERTS: ReadonlySet<string> = new Set(CAMERA_ALERTS);

export function bodyOf(entry: StateEntry): Body | undefined {
  return bodySchema.safeParse(JSON.parse(`{${entry.body}}`)).data;
}

/** A camera's link message, with `until` by the server's clock. */
export function linkIn(entry: StateEntry): Link | undefined {
  const body = bodyOf(entry);
  const link = linkSchema.safeParse(body?.data).data;
  if (link?.until === undefined || body === undefined) return link;
  return { ...link, until: new Date(byServerClock(link.until, body, entry.acceptedAt)).toISOString() };
}

/** Whether the camera sends on this topic, rather than the backend or the sender of a command. */
export function isOfCamera(topic: Topic): boolean {
  if (topic.kind === "camera-state") return !isBackendState(topic.name);
  if (topic.kind === "camera-alert") return !BACKEND_ALERTS.has(topic.name);
  if (topic.kind === "camera-event") return topic.event !== LINK_GAP_EVENT;
  return "camera" in topic && topic.kind !== "camera-command" && topic.kind !== "camera-alert-note";
}

/** Whether a message on this topic must be parsed to determine presence, even if the camera is known to be online. */
export function isContentNeeded(topic: Topic): boolean {
  if (topic.kind === "camera-state") return topic.name === "capture";
  if (topic.kind === "camera-event") return topic.event === "capture.completed";
  return topic.kind === "camera-link" || topic.kind === "camera-about";
}

/** Whether the message is no evidence of a live camera: a cleared topic or an `offline` link. */
export function isFarewell(topic: Topic, entry: Entry): boolean {
  return entry.state === "clear" || (topic.kind === "camera-link" && linkIn(entry)?.status === "offline");
}

/**
 * Updates a schedule from the camera's `about` or `state/capture`. A stale camera stays stale when its interval becomes
 * shorter.
 */
export function updateSchedule(
  schedule: CaptureSchedule,
  { topic, body, acceptedAt }: { topic: Topic; body: Body; acceptedAt: number },
  { isStale, at }: { isStale: boolean; at: number },
): void {
  if (topic.kind === "camera-about") {
    const about = aboutSchema.safeParse(body.data).data;
    if (about === undefined) return;
    const { intervalS = 0, expectedFrom } = schedule;
    // The last capture was on time for the longer interval. The shorter interval applies from now on.
    if (about.capture_interval_s < intervalS && !isStale) schedule.expectedFrom = Math.max(expectedFrom, at);
    schedule.intervalS = about.capture_interval_s;
  } else if (topic.kind === "camera-state" && topic.name === "capture") {
    const progress = captureProgressSchema.safeParse(body.data).data;
    if (progress === undefined) return;
    const { active, next_capture_at } = progress;
    if (active && !schedule.active) schedule.expectedFrom = at;
    schedule.active = active;
    schedule.nextCaptureAt = next_capture_at === undefined ? 0 : byServerClock(next_capture_at, body, acceptedAt);
  }
}

/** Converts a camera's time to milliseconds since 1970, corrected if the message's timestamp shows a wrong clock. */
function byServerClock(time: string, { timestamp }: Body, acceptedAt: number): number {
  const behindMs = acceptedAt - Date.parse(timestamp);
  return Date.parse(time) + (Math.abs(behindMs) > CLOCK_TOLERANCE_MS ? behindMs : 0);
}
