import type { Topic } from "../../contract/topics.ts";
import type { Entry } from "../journal/journal.ts";
import { bodyOf, isFarewell, updateSchedule } from "./camera-messages.ts";
import { type CameraPresence, newPresence } from "./camera-presence.ts";
import type { CaptureSchedule } from "./staleness.ts";

/** What presence remembers of a camera. */
export interface WatchedCamera {
  presence: CameraPresence;
  /** The last publication failed: the next check retries it. */
  unpublished: boolean;
  schedule: CaptureSchedule;
  /** When the camera's last message was received; undefined before the first one. */
  heardAt: number | undefined;
  /** The camera sent a live message that the server has received late. */
  isHeardLate: boolean;
  /** The camera was removed and registered again, and its old retained topics are not cleared yet. */
  addedAgain: boolean;
}

/** A camera of which nothing is known. @param at milliseconds by the server's own clock */
export function newWatchedCamera(at: number): WatchedCamera {
  return {
    presence: newPresence("unknown", at),
    schedule: { intervalS: undefined, active: true, nextCaptureAt: 0, expectedFrom: at },
    ...{ unpublished: false, heardAt: undefined, isHeardLate: false, addedAgain: false },
  };
}

export function noteHeard(camera: WatchedCamera, at: number | undefined): void {
  if (at !== undefined) camera.heardAt = Math.max(camera.heardAt ?? 0, at);
}

/**
 * Notes a message that may have waited at another broker for long. What it means for the present is known once
 * everything that waited is read.
 */
export function noteLate(camera: WatchedCamera, topic: Topic, entry: Entry, now: number): void {
  const body = bodyOf(entry);
  if (body === undefined || body.historical || isFarewell(topic, entry)) return;
  const sentAt = Math.min(now, Date.parse(body.timestamp));
  noteHeard(camera, sentAt);
  camera.isHeardLate = true;
  const { schedule } = camera;
  updateSchedule(schedule, { topic, body, acceptedAt: sentAt }, { isStale: false, at: sentAt });
  if (topic.kind === "camera-event" && topic.event === "capture.completed")
    schedule.expectedFrom = Math.max(schedule.expectedFrom, sentAt);
}
