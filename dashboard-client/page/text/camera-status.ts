import type { CameraState } from "../../state/camera-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatAge, formatDuration, formatMinute, formatTime } from "./format.ts";

export type Tone = "good" | "rest" | "warn" | "bad" | "quiet";

interface StatusText {
  label: string;
  /** Since when or until when the camera has this status, or why. */
  detail: string;
  tone: Tone;
}

export function nameOf({ cameras }: RealTimeData, camera: string | undefined): string | undefined {
  return camera === undefined ? undefined : (cameras.get(camera)?.about?.value.name ?? camera);
}

export function zoneOf({ cameras }: RealTimeData, camera: string | undefined): string | undefined {
  return camera === undefined ? undefined : cameras.get(camera)?.about?.value.location.timezone;
}

/** The status of a camera in words. Without a connection, the last known status. */
export function cameraStatus(camera: CameraState, live: boolean, now: number): StatusText {
  const status = currentStatus(camera, now);
  return live ? status : { ...status, label: `Last known: ${status.label.toLowerCase()}`, tone: "quiet" };
}

function currentStatus(camera: CameraState, now: number): StatusText {
  const zone = camera.about?.value.location.timezone;
  const presence = camera.presence?.value;
  const since = presence === undefined ? "" : `since ${formatMinute(presence.since, zone, now)}`;
  switch (presence?.status) {
    case "online":
      return { label: "Online", detail: since, tone: "good" };
    case "offline":
      return {
        label: "Offline",
        detail: `${since} · ${formatDuration(now - Date.parse(presence.since))}`,
        tone: "bad",
      };
    case "sleeping":
      return presence.until === undefined
        ? { label: "Sleeping", detail: since, tone: "rest" }
        : { label: `Sleeping until ${formatMinute(presence.until, zone, now)}`, detail: since, tone: "rest" };
    case "overslept": {
      const when = presence.until === undefined ? since : `at ${formatMinute(presence.until, zone, now)}`;
      return { label: "Overslept", detail: `did not wake ${when}`, tone: "bad" };
    }
    case "never_seen":
      return { label: "Never connected", detail: `registered ${since}`, tone: "quiet" };
    case "stale":
      return { label: "No new pictures", detail: `connected, no picture ${since}`, tone: "warn" };
    case "unknown":
      return { label: "Unknown", detail: `no message ${since}`, tone: "quiet" };
    case undefined:
      return { label: "Unknown", detail: "no message yet", tone: "quiet" };
  }
}

/** When the shown picture was taken, or was received if the camera did not send the time. */
export function pictureTime(
  camera: CameraState,
  picture: { etag: string | undefined; takenAt: string | undefined; receivedAt: number | undefined } | undefined,
  now: number,
): { text: string; age: string } | undefined {
  if (picture === undefined) return undefined;
  const zone = camera.about?.value.location.timezone;
  const taken = camera.pictureTaken?.etag === picture.etag ? camera.pictureTaken?.at : picture.takenAt;
  const at = taken ?? picture.receivedAt;
  if (at === undefined) return undefined;
  const text = `${taken === undefined ? "Received" : "Taken"} ${formatTime(at, zone, now)}`;
  return { text, age: formatAge(at, now) };
}
