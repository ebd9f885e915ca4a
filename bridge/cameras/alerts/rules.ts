import type { Alert, CameraAlertName, ServiceAlertName } from "../../../contract/events.ts";
import { type CameraFacts, isThere } from "./camera-facts.ts";
import { queuedOf, type ServiceFacts } from "./service-facts.ts";
import { type AlertThresholds, BATTERY_RELIEF, DISK_RELIEF, RELIEF_SHARE } from "./thresholds.ts";

/**
 * What is to become of an alert: `raise` it, `clear` it, or `leave` it as it is, for what holds is between the two
 * limits or not known. `cause`: the journal position of what brought it about.
 */
export type Verdict =
  | { is: "raise"; cause: number; severity: Alert["severity"]; message: string }
  | { is: "clear" | "leave" };

const CLEAR: Verdict = { is: "clear" };
const LEAVE: Verdict = { is: "leave" };
/** A camera that is not heard of again after a start of the backend: after so long nothing is expected of it. */
const UNKNOWN_MS = 600_000;
/** How long what a camera says of its disk may be ahead of the alert that it raises about it. */
const OWN_WORD_MS = 2_000;
/** And of one that names the limit by which it raises it: its word is on its way, over whatever link. */
const OWN_LIMIT_MS = 60_000;

/** @param since before this nobody listened here: what was silent then may have spoken */
export type Rule<Facts> = (facts: Facts, now: number, thresholds: AlertThresholds, since: number) => Verdict;

/** Of the camera alerts `duplicate-client-id` has a watch of its own. */
export const CAMERA_RULES: Readonly<Record<Exclude<CameraAlertName, "duplicate-client-id">, Rule<CameraFacts>>> = {
  offline: (facts, now, thresholds, since) =>
    goneFor(facts, now, thresholds, since, {
      status: "offline",
      message: (waited) => `Offline for more than ${waited}: look at its power and its link`,
    }),
  overslept: (facts, now, thresholds, since) =>
    goneFor(facts, now, thresholds, since, {
      status: "overslept",
      message: (waited) => `Has not come back from its sleep, and is more than ${waited} late`,
    }),
  battery: ({ batteryLeft, batterySaid }, _now, { batteryPercent }) => {
    // A camera that says nothing of a battery may raise the alert itself.
    if (batteryLeft === undefined) return LEAVE;
    if (batteryLeft >= batteryPercent)
      return batteryPercent === 0 || batteryLeft >= Math.min(100, batteryPercent + BATTERY_RELIEF) ? CLEAR : LEAVE;
    return {
      is: "raise",
      cause: batterySaid,
      severity: "warning",
      message: `The battery has ${Math.floor(batteryLeft)} % left`,
    };
  },
  "no-capture": (facts, now, { noCaptureMs }, since) => {
    const { presence, presenceSince, cameAt, active, intervalMs, intervalSaid, expectedFrom } = facts;
    if (presence === "unknown") return now - presenceSince < UNKNOWN_MS ? LEAVE : CLEAR;
    if (!isThere(presence) || active !== true) return CLEAR;
    const waitMs = Math.max(2 * intervalMs, noCaptureMs);
    // That the camera came back is no picture: then it is still to show that it takes them.
    if (now - expectedFrom.at < waitMs) return expectedFrom.position > cameAt ? CLEAR : LEAVE;
    if (now - since < waitMs) return LEAVE;
    return {
      is: "raise",
      // Since the last picture it may have been raised and, because the interval became longer, cleared: this is another.
      cause: Math.max(expectedFrom.position, intervalSaid),
      severity: "critical",
      message: `No picture for more than ${duration(waitMs)}, though the schedule asks for ${
        intervalMs === 0 ? "some" : `one every ${duration(intervalMs)}`
      }`,
    };
  },
  disk: ({ diskUsed, ownAlertAt }, now, { diskPercent }) => {
    if (diskUsed === undefined) return CLEAR;
    const { percent, said, since, ownLimit } = diskUsed;
    const limit = ownLimit ?? diskPercent;
    // A camera that watches its disk itself says so in the same breath: the one alert is then said once.
    if (now - since < (ownLimit === undefined ? OWN_WORD_MS : OWN_LIMIT_MS)) return LEAVE;
    // One that the camera raised by a limit that nobody knows is its own to clear; should it have lost its memory, this is
    // well below.
    const reliefAt = ownAlertAt === undefined ? limit - DISK_RELIEF : Math.min(limit, ownAlertAt) - 2 * DISK_RELIEF;
    if (percent <= limit) return percent < reliefAt ? CLEAR : LEAVE;
    return {
      is: "raise",
      cause: said.position,
      severity: "warning",
      message: `Storage is ${Math.floor(percent)} % full`,
    };
  },
  "disk-writes": ({ unwritable }) =>
    unwritable === undefined
      ? CLEAR
      : {
          is: "raise",
          cause: unwritable.said.position,
          severity: "critical",
          message: `The camera's disk takes no writes (${unwritable.reason}): what it says is kept in its memory only, and it keeps no pictures. Make room on the disk, or mend it and restart the camera`,
        },
  failures: ({ captures, failedAt }, _now, { failuresPercent, failuresMin }) => {
    if (captures.length < failuresMin) return LEAVE;
    const failed = captures.replaceAll("0", "").length;
    const percent = (failed / captures.length) * 100;
    if (percent <= failuresPercent) return percent <= failuresPercent * RELIEF_SHARE ? CLEAR : LEAVE;
    return {
      is: "raise",
      cause: failedAt,
      severity: "warning",
      message: `${failed} of the last ${captures.length} pictures failed`,
    };
  },
};

export const SERVICE_RULES: Readonly<Record<ServiceAlertName, Rule<ServiceFacts>>> = {
  "job-queue": (facts, _now, { queuedJobs }) => {
    const queued = queuedOf(facts);
    if (queued <= queuedJobs) return queued <= queuedJobs * RELIEF_SHARE ? CLEAR : LEAVE;
    return { is: "raise", cause: facts.queuedAt, severity: "warning", message: `${queued} jobs wait to be processed` };
  },
  "worker-silent": ({ goneSince, heard, jobs }, now, { workerSilentMs }, since) => {
    const silent = goneSince ?? (jobs.size > 0 ? heard : undefined);
    if (silent === undefined) return CLEAR;
    if (now - Math.max(silent.at, since) < workerSilentMs)
      return goneSince === undefined && silent.at >= since ? CLEAR : LEAVE;
    const what = goneSince === undefined ? "has said nothing of its jobs" : "has been gone";
    return {
      is: "raise",
      cause: silent.position,
      severity: "critical",
      message: `The processing service ${what} for more than ${duration(workerSilentMs)}`,
    };
  },
};

/** Of a camera that is not there. While it is not known whether it is, an alert that stands stays. */
function goneFor(
  { presence, presenceSaid, goneSince }: CameraFacts,
  now: number,
  { offlineMs }: AlertThresholds,
  since: number,
  { status, message }: { status: "offline" | "overslept"; message: (waited: string) => string },
): Verdict {
  if (presence === "unknown" && offlineMs > 0) return LEAVE;
  if (presence !== status || goneSince === undefined || offlineMs === 0) return CLEAR;
  // Nobody could come back while the server was away.
  if (now - Math.max(goneSince, since) < offlineMs) return LEAVE;
  return { is: "raise", cause: presenceSaid, severity: "critical", message: message(duration(offlineMs)) };
}

/** `45 s`, `5 min`, `1.5 h` */
function duration(ms: number): string {
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  return ms < 3_600_000 ? `${Math.round(ms / 60_000)} min` : `${Number((ms / 3_600_000).toFixed(1))} h`;
}
