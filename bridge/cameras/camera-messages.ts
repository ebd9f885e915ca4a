import { z } from "zod";
import { CAMERA_ALERTS, captureProgressSchema, LINK_GAP_EVENT, type Link, linkSchema } from "../../contract/events.ts";
import { isBackendState, type Topic } from "../../contract/topics.ts";
import type { Entry, StateEntry } from "../journal/journal.ts";
import type { CaptureSchedule } from "./staleness.ts";

const bodySchema = z.object({ data: z.unknown(), timestamp: z.string(), historical: z.boolean().optional() });
/** An entry's body, parsed. */
export type Body = z.infer<typeof bodySchema>;

const aboutSchema = z.object({ capture_interval_s: z.number().positive() });
/**
 * Milliseconds. If a camera's clock differs from the server's by more than this, the camera's clock is regarded as
 * wrong, and the camera's times are corrected by the difference.
 */
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

/** Whether the camera itself sends on this topic, in contrast to commands and to the backend's events about it. */
export function isOfCamera(topic: Topic): boolean {
  if (topic.kind === "camera-state") return !isBackendState(topic.name);
  if (topic.kind === "camera-alert") return !BACKEND_ALERTS.has(topic.name);
  if (topic.kind === "camera-event") return topic.event !== LINK_GAP_EVENT;
  return "camera" in topic && topic.kind !== "camera-command";
}

/** Whether a message on this topic must be parsed to determine presence, even if the camera is known to be online. */
export function isContentNeeded(topic: Topic): boolean {
  switch (topic.kind) {
    case "camera-link":
    case "camera-about":
      return true;
    case "camera-state":
      return topic.name === "capture";
    case "camera-event":
      return topic.event === "capture.completed";
    default:
      return false;
  }
}

/** Whether the message does not show that a camera is there: a cleared topic or an `offline` link. */
export function isFarewell(topic: Topic, entry: Entry): boolean {
  return entry.state === "clear" || (topic.kind === "camera-link" && linkIn(entry)?.status === "offline");
}

/**
 * Updates a camera's capture schedule from its `about` or `state/capture`.
 * @param isStale whether the camera is stale: it then stays stale when its interval gets shorter
 * @param at now, milliseconds by the server's own clock
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
    // The last capture was on time by the longer interval. From now on, captures are expected at the shorter interval.
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

/**
 * Corrects a time that a camera sent, if the message's timestamp shows that the camera's clock is wrong. @returns
 * milliseconds since 1970
 */
function byServerClock(time: string, { timestamp }: Body, acceptedAt: number): number {
  const behindMs = acceptedAt - Date.parse(timestamp);
  return Date.parse(time) + (Math.abs(behindMs) > CLOCK_TOLERANCE_MS ? behindMs : 0);
}
