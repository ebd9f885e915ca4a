/**
 * When alerts are raised. Each alert is cleared at a lower limit than it is raised at, so that a value that varies around
 * a limit does not make the alert flap.
 */
export interface AlertThresholds {
  /** A camera has been offline, or has overslept, for longer than this, milliseconds. 0 disables the alerts. Default 600,000. */
  offlineMs: number;
  /** {@link offlineMs} of single cameras, by id. */
  offlineMsOf: ReadonlyMap<string, number>;
  /** A camera's battery has less than this percent left. 0 disables the alert. Default 20. */
  batteryPercent: number;
  /** No capture for this long, or for two of the camera's intervals if that is longer, milliseconds. Default 300,000. */
  noCaptureMs: number;
  /** More than this percent of a camera's storage is used. Default 80. */
  diskPercent: number;
  /** More than this percent of the last captures failed. Default 10. */
  failuresPercent: number;
  /** The number of last captures that count for `failuresPercent`. Default 20. */
  failuresOf: number;
  /** With fewer captures than this, failures raise no alert. Default 10. */
  failuresMin: number;
  /** More than this many jobs wait at a service. Default 10. */
  queuedJobs: number;
  /** A service has been offline, or silent about its unfinished jobs, for longer than this, milliseconds. Default 300,000. */
  workerSilentMs: number;
}

export const DEFAULT_ALERT_THRESHOLDS: AlertThresholds = {
  // Longer than a camera's longest wait between two attempts to connect, `RECONNECT_MAX_S`.
  offlineMs: 600_000,
  offlineMsOf: new Map(),
  batteryPercent: 20,
  noCaptureMs: 300_000,
  diskPercent: 80,
  failuresPercent: 10,
  failuresOf: 20,
  failuresMin: 10,
  queuedJobs: 10,
  workerSilentMs: 300_000,
};

/** Percentage points below the limit at which the storage alert is cleared. */
export const DISK_RELIEF = 5;
/** Percentage points above the limit at which the battery alert is cleared. */
export const BATTERY_RELIEF = 5;
/** The share of a limit at which the alerts about failures and queued jobs are cleared. */
export const RELIEF_SHARE = 0.5;
