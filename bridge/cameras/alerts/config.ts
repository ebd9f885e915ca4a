import type { z } from "zod";
import { isId } from "../../../contract/ids.ts";
import { quoted } from "../../../contract/visible-text.ts";
import {
  countVariable,
  defaultsOf,
  listVariable,
  positiveVariable,
  setting,
  type ValuesOf,
} from "../../../platform/config.ts";

const percentVariable = countVariable.max(100, "must be at most 100");

export const alertSettings = {
  ALERT_OFFLINE_SECONDS: setting(
    "Alert: a camera is offline, or has not woken up at the announced time, for longer than this. 0 turns the alert off. " +
      "Must be longer than the camera's `RECONNECT_MAX_S`, or a restart of the server raises it.",
    countVariable.default(600),
    { mustAgree: true },
  ),
  ALERT_OFFLINE_SECONDS_OF: setting(
    "`ALERT_OFFLINE_SECONDS` of single cameras, such as `north=60,attic=0`.",
    listVariable.transform(readSecondsOf).default(new Map()),
    { mustAgree: true },
  ),
  ALERT_BATTERY_PERCENT: setting(
    "Alert: a camera on battery or solar power has less charge left. 0 turns the alert off. It ends 5 points above.",
    percentVariable.default(20),
    { mustAgree: true },
  ),
  ALERT_NO_CAPTURE_SECONDS: setting(
    "Alert: no picture for this long while the schedule asks for some, or for twice the interval if that is longer.",
    positiveVariable.default(300),
    { mustAgree: true },
  ),
  ALERT_DISK_PERCENT: setting(
    "Alert: a camera's storage is fuller than this. It ends 5 points below. A camera's own `DISK_ALERT_PERCENT` takes " +
      "precedence.",
    percentVariable.default(80),
    { mustAgree: true },
  ),
  ALERT_FAILURES_PERCENT: setting(
    "Alert: more of the last `ALERT_FAILURES_OF` pictures failed. It ends at half of this.",
    percentVariable.default(10),
    { mustAgree: true },
  ),
  ALERT_FAILURES_OF: setting(
    "How many of the last pictures `ALERT_FAILURES_PERCENT` refers to.",
    positiveVariable.max(1_000, "must be at most 1000").default(20),
    { mustAgree: true },
  ),
  ALERT_FAILURES_MIN: setting(
    "Fewer pictures raise no alert about failures. At most `ALERT_FAILURES_OF`.",
    positiveVariable.default(10),
    { mustAgree: true },
  ),
  ALERT_QUEUED_JOBS: setting(
    "Alert: more jobs wait at one processing service. It ends at half of this.",
    countVariable.default(10),
    { mustAgree: true },
  ),
  ALERT_WORKER_SILENT_SECONDS: setting(
    "Alert: a processing service is disconnected, or silent about the jobs it works on, for longer than this.",
    positiveVariable.default(300),
    { mustAgree: true },
  ),
};

/** When alerts are raised. They are cleared at other limits, so that a value near a limit does not make them flap. */
export type AlertThresholds = ReturnType<typeof alertThresholds>;

export function alertThresholds(read: ValuesOf<typeof alertSettings>) {
  return {
    /** 0 disables the alerts of cameras that are offline or have overslept. */
    offlineMs: read.ALERT_OFFLINE_SECONDS * 1000,
    /** Overrides of `offlineMs`, by camera id. */
    offlineMsOf: new Map([...read.ALERT_OFFLINE_SECONDS_OF].map(([id, seconds]) => [id, seconds * 1000] as const)),
    /** 0 disables the alert. */
    batteryPercent: read.ALERT_BATTERY_PERCENT,
    noCaptureMs: read.ALERT_NO_CAPTURE_SECONDS * 1000,
    diskPercent: read.ALERT_DISK_PERCENT,
    failuresPercent: read.ALERT_FAILURES_PERCENT,
    failuresOf: read.ALERT_FAILURES_OF,
    failuresMin: Math.min(read.ALERT_FAILURES_MIN, read.ALERT_FAILURES_OF),
    queuedJobs: read.ALERT_QUEUED_JOBS,
    workerSilentMs: read.ALERT_WORKER_SILENT_SECONDS * 1000,
  };
}
export const DEFAULT_ALERT_THRESHOLDS: AlertThresholds = alertThresholds(defaultsOf(alertSettings));

/** Percentage points below the limit at which the storage alert is cleared. */
export const DISK_RELIEF = 5;
/** Percentage points above the limit at which the battery alert is cleared. */
export const BATTERY_RELIEF = 5;
/** The alerts about failures and queued jobs are cleared at this share of their limit. */
export const RELIEF_SHARE = 0.5;

function readSecondsOf(pairs: string[], context: z.RefinementCtx): ReadonlyMap<string, number> {
  const read = new Map<string, number>();
  for (const pair of pairs) {
    const [, camera = "", seconds] = /^([^=]+)=(\d{1,9})$/.exec(pair) ?? [];
    if (isId(camera)) read.set(camera, Number(seconds));
    else
      context.addIssue({ code: "custom", message: `${quoted(pair)} is no camera and its seconds, such as north=60` });
  }
  return read;
}
