/** When alerts are raised. Each is cleared below where it was raised, so that nothing that sways around a limit flaps. */
export interface AlertThresholds {
  /** A camera is offline, or has not woken when it said, for longer than this, milliseconds; 0 for no such alert. Default 600,000. */
  offlineMs: number;
  /** The same of single cameras, by id. */
  offlineMsOf: ReadonlyMap<string, number>;
  /** A camera's battery has less left than so many percent; 0 for no such alert. Default 20. */
  batteryPercent: number;
  /** No picture for so long, or for twice the camera's interval where that is longer, milliseconds. Default 300,000. */
  noCaptureMs: number;
  /** A camera's storage is fuller than so many percent. Default 80. */
  diskPercent: number;
  /** Of the last captures more than so many percent failed. Default 10. */
  failuresPercent: number;
  /** How many captures are looked back at. Default 20. */
  failuresOf: number;
  /** With fewer captures nothing is said of failures. Default 10. */
  failuresMin: number;
  /** More jobs than so many wait at a service. Default 10. */
  queuedJobs: number;
  /** A service is gone, or says nothing about the jobs it works on, for longer than this, milliseconds. Default 300,000. */
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

/** Percentage points below the limit at which the storage counts as well again. */
export const DISK_RELIEF = 5;
/** Percentage points above the limit at which a battery counts as well again. */
export const BATTERY_RELIEF = 5;
/** The share of a limit at which failures and queued jobs count as well again. */
export const RELIEF_SHARE = 0.5;
