/** A connected camera that has taken no picture for this many capture intervals is stale. */
export const STALE_AFTER_INTERVALS = 2;

/** When a camera should take its next picture. Times are milliseconds by the server's own clock. */
export interface CaptureSchedule {
  /** Seconds between two captures; undefined until the camera has published it. */
  intervalS: number | undefined;
  /** False while the camera's schedule takes no pictures, for example at night. */
  active: boolean;
  /** The announced time of the next capture; 0 if none was announced. */
  nextCaptureAt: number;
  /** The last capture, or the time since which captures are expected. */
  expectedFrom: number;
}

/**
 * When the camera becomes stale if no capture arrives: {@link STALE_AFTER_INTERVALS} after the last capture, or one
 * interval after the announced next capture, whichever is later. Undefined while no capture is expected.
 */
export function staleAt({ intervalS, active, nextCaptureAt, expectedFrom }: CaptureSchedule): number | undefined {
  if (intervalS === undefined || !active) return undefined;
  const intervalMs = intervalS * 1000;
  return Math.max(expectedFrom + STALE_AFTER_INTERVALS * intervalMs, nextCaptureAt + intervalMs);
}
