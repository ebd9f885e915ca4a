import type { CameraState } from "../../state/camera-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { zoneFor } from "../preferences.ts";
import { formatAge, formatDuration, formatMinute, formatTime, lowerFirst } from "./format.ts";
import { t } from "./i18n.ts";

export type Tone = "good" | "rest" | "warn" | "bad" | "quiet";

interface StatusText {
  label: string;
  /** Since when or until when the camera has this status, or why. */
  detail: string;
  tone: Tone;
}

export function nameOf({ cameras }: RealTimeData, camera: string | undefined): string | undefined {
  if (camera === undefined) return undefined;
  const { record, about } = cameras.get(camera) ?? {};
  // What an admin wrote replaces what the camera sends.
  return record?.value.name ?? about?.value.name ?? camera;
}

export function zoneOf({ cameras }: RealTimeData, camera: string | undefined): string | undefined {
  return camera === undefined ? undefined : cameras.get(camera)?.about?.value.location.timezone;
}

type StatusSource = { [Field in "about" | "presence"]?: CameraState[Field] | undefined };

/** The status of a camera in words, with times by the clock that the user chose. Without a connection, the last known status. */
export function cameraStatus(camera: StatusSource, live: boolean, now: number): StatusText {
  const status = currentStatus(camera, now);
  return live
    ? status
    : { ...status, label: t("presence.lastKnown", { status: lowerFirst(status.label) }), tone: "quiet" };
}

function currentStatus(camera: StatusSource, now: number): StatusText {
  const zone = zoneFor(camera.about?.value.location.timezone);
  const presence = camera.presence?.value;
  const since = presence === undefined ? "" : t("presence.since", { time: formatMinute(presence.since, zone, now) });
  switch (presence?.status) {
    case "online":
      return { label: t("presence.online"), detail: since, tone: "good" };
    case "offline":
      return {
        label: t("presence.offline"),
        detail: `${since} · ${formatDuration(now - Date.parse(presence.since))}`,
        tone: "bad",
      };
    case "sleeping":
      return presence.until === undefined
        ? { label: t("presence.sleeping"), detail: since, tone: "rest" }
        : {
            label: t("presence.sleepingUntil", { time: formatMinute(presence.until, zone, now) }),
            detail: since,
            tone: "rest",
          };
    case "overslept": {
      const when =
        presence.until === undefined ? since : t("presence.at", { time: formatMinute(presence.until, zone, now) });
      return { label: t("presence.overslept"), detail: t("presence.didNotWake", { when }), tone: "bad" };
    }
    case "never_seen":
      return { label: t("presence.never_seen"), detail: t("presence.registered", { since }), tone: "quiet" };
    case "stale":
      return { label: t("presence.stale"), detail: t("presence.noPicture", { since }), tone: "warn" };
    case "unknown":
      return { label: t("presence.unknown"), detail: t("presence.noMessageSince", { since }), tone: "quiet" };
    case undefined:
      return { label: t("presence.unknown"), detail: t("presence.noMessage"), tone: "quiet" };
  }
}

/** When the shown picture was taken, or was received if the camera did not send the time. */
export function pictureTime(
  camera: CameraState,
  picture: { etag: string | undefined; takenAt: string | undefined; receivedAt: number | undefined } | undefined,
  now: number,
): { text: string; age: string } | undefined {
  if (picture === undefined) return undefined;
  const zone = zoneFor(camera.about?.value.location.timezone);
  const taken = camera.pictureTaken?.etag === picture.etag ? camera.pictureTaken?.at : picture.takenAt;
  const at = taken ?? picture.receivedAt;
  if (at === undefined) return undefined;
  const text = t(taken === undefined ? "picture.received" : "picture.taken", { time: formatTime(at, zone, now) });
  return { text, age: formatAge(at, now) };
}
