import type { Alert, CameraAlertName, ServiceAlertName } from "../../../contract/events.ts";
import { counted } from "../../../platform/counted.ts";
import { type CameraFacts, isConnected } from "./camera-facts.ts";
import { type AlertThresholds, BATTERY_RELIEF, DISK_RELIEF, RELIEF_SHARE } from "./config.ts";
import { queuedOf, type ServiceFacts } from "./service-facts.ts";

/** `leave`: the value is unknown or between the limits. `cause`: the journal position of the entry behind the alert. */
export type Verdict =
  | { is: "raise"; cause: number; severity: Alert["severity"]; message: string }
  | { is: "clear" | "leave" };

const CLEAR: Verdict = { is: "clear" };
const LEAVE: Verdict = { is: "leave" };
/** No pictures are expected of a camera whose presence has been `unknown` for this long, milliseconds. */
const UNKNOWN_MS = 600_000;
/** How long a camera's own disk alert may arrive after the usage that causes it, milliseconds. */
const OWN_ALERT_DELAY_MS = 2_000;
/** The delay for a camera that publishes its limit: its alert is certain to follow, even over a slow link. */
const OWN_LIMIT_ALERT_DELAY_MS = 60_000;

/** @param since the start of this watcher, which has not observed any earlier silence */
export type Rule<Facts> = (facts: Facts, now: number, thresholds: AlertThresholds, since: number) => Verdict;

/** The alert `duplicate-client-id` has no rule here: `duplicate-devices.ts` raises it. */
export const CAMERA_RULES: Readonly<Record<Exclude<CameraAlertName, "duplicate-client-id">, Rule<CameraFacts>>> = {
  offline: (facts, now, thresholds, since) =>
    offlineFor(facts, now, thresholds, since, {
      status: "offline",
      message: (waited) => `Offline for more than ${waited}: check its power and its link`,
    }),
  overslept: (facts, now, thresholds, since) =>
    offlineFor(facts, now, thresholds, since, {
      status: "overslept",
      message: (waited) => `Has not come back from its sleep, and is more than ${waited} late`,
    }),
  battery: ({ batteryLeft, batteryPosition }, _now, { batteryPercent }) => {
    // A camera that publishes no battery level may raise the alert itself.
    if (batteryLeft === undefined) return LEAVE;
    if (batteryLeft >= batteryPercent)
      return batteryPercent === 0 || batteryLeft >= Math.min(100, batteryPercent + BATTERY_RELIEF) ? CLEAR : LEAVE;
    return raise(batteryPosition, "warning", `The battery has ${Math.floor(batteryLeft)} % left`);
  },
  "no-capture": (facts, now, { noCaptureMs }, since) => {
    const { presence, presenceSince, connectedPosition, active, intervalMs, intervalPosition, expectedFrom } = facts;
    if (presence === "unknown") return now - presenceSince < UNKNOWN_MS ? LEAVE : CLEAR;
    if (!isConnected(presence) || active !== true) return CLEAR;
    const waitMs = Math.max(2 * intervalMs, noCaptureMs);
    // A reconnected camera has not yet shown that it takes pictures: only a capture since then clears the alert.
    if (now - expectedFrom.at < waitMs) return expectedFrom.position > connectedPosition ? CLEAR : LEAVE;
    if (now - since < waitMs) return LEAVE;
    const asked = intervalMs === 0 ? "some" : `one every ${duration(intervalMs)}`;
    const message = `No picture for more than ${duration(waitMs)}, though the schedule asks for ${asked}`;
    // The cause is the last capture or, if later, the last change of the interval: a longer interval clears the alert,
    // and an alert after that is a new one.
    return raise(Math.max(expectedFrom.position, intervalPosition), "critical", message);
  },
  disk: ({ disk, ownAlertPercent }, now, { diskPercent }) => {
    if (disk === undefined) return CLEAR;
    const { percent, measured, since, ownLimit } = disk;
    const limit = ownLimit ?? diskPercent;
    // A camera that watches its own disk publishes its alert with the usage. Waiting avoids a second alert.
    if (now - since < (ownLimit === undefined ? OWN_ALERT_DELAY_MS : OWN_LIMIT_ALERT_DELAY_MS)) return LEAVE;
    // A camera that raised the alert at a limit of its own also clears it. The backend clears it at a lower limit, in
    // case the camera has forgotten the alert.
    const clearBelow =
      ownAlertPercent === undefined ? limit - DISK_RELIEF : Math.min(limit, ownAlertPercent) - 2 * DISK_RELIEF;
    if (percent <= limit) return percent < clearBelow ? CLEAR : LEAVE;
    return raise(measured.position, "warning", `Storage is ${Math.floor(percent)} % full`);
  },
  "disk-writes": ({ unwritable }) => {
    if (unwritable === undefined) return CLEAR;
    const message = `The camera cannot write to its disk (${unwritable.reason}): it keeps its messages in memory only and stores no pictures. Free space on the disk, or repair it and restart the camera`;
    return raise(unwritable.reported.position, "critical", message);
  },
  failures: ({ captures, failedAt }, _now, { failuresPercent, failuresMin }) => {
    if (captures.length < failuresMin) return LEAVE;
    const failed = captures.replaceAll("0", "").length;
    const percent = (failed / captures.length) * 100;
    if (percent <= failuresPercent) return percent <= failuresPercent * RELIEF_SHARE ? CLEAR : LEAVE;
    return raise(failedAt, "warning", `${failed} of the last ${captures.length} pictures failed`);
  },
};

export const SERVICE_RULES: Readonly<Record<ServiceAlertName, Rule<ServiceFacts>>> = {
  "job-queue": (facts, _now, { queuedJobs }) => {
    const queued = queuedOf(facts);
    if (queued <= queuedJobs) return queued <= queuedJobs * RELIEF_SHARE ? CLEAR : LEAVE;
    return raise(facts.queuedAt, "warning", `${counted(queued, "job waits", "jobs wait")} to be processed`);
  },
  "worker-silent": ({ offlineSince, heard, jobs }, now, { workerSilentMs }, since) => {
    const silent = offlineSince ?? (jobs.size > 0 ? heard : undefined);
    if (silent === undefined) return CLEAR;
    if (now - Math.max(silent.at, since) < workerSilentMs)
      return offlineSince === undefined && silent.at >= since ? CLEAR : LEAVE;
    const what = offlineSince === undefined ? "has not reported on its jobs" : "has been offline";
    const message = `The processing service ${what} for more than ${duration(workerSilentMs)}`;
    return raise(silent.position, "critical", message);
  },
};

function raise(cause: number, severity: Alert["severity"], message: string): Verdict {
  return { is: "raise", cause, severity, message };
}

/** The alerts `offline` and `overslept`. While the presence is unknown, a raised alert stays. */
function offlineFor(
  { presence, presencePosition, offlineSince }: CameraFacts,
  now: number,
  { offlineMs }: AlertThresholds,
  since: number,
  { status, message }: { status: "offline" | "overslept"; message: (waited: string) => string },
): Verdict {
  if (presence === "unknown" && offlineMs > 0) return LEAVE;
  if (presence !== status || offlineSince === undefined || offlineMs === 0) return CLEAR;
  // No camera could reconnect while the server was stopped.
  if (now - Math.max(offlineSince, since) < offlineMs) return LEAVE;
  return raise(presencePosition, "critical", message(duration(offlineMs)));
}

/** `45 s`, `5 min`, `1.5 h` */
function duration(ms: number): string {
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  return ms < 3_600_000 ? `${Math.round(ms / 60_000)} min` : `${Number((ms / 3_600_000).toFixed(1))} h`;
}
