import type { CameraAlertName, ServiceAlertName } from "../../../contract/events.ts";

const NAMES: Readonly<Record<CameraAlertName | ServiceAlertName, string>> = {
  offline: "Camera offline",
  overslept: "Camera did not wake",
  battery: "Battery nearly empty",
  "no-capture": "No new pictures",
  disk: "Storage nearly full",
  "disk-writes": "Disk cannot be written",
  failures: "Captures failing",
  "duplicate-client-id": "Two devices with the same name",
  "job-queue": "Long job queue",
  "worker-silent": "Processing service silent",
};

/** The alerts of the backend and the alert `temperature`, which a camera raises itself. */
const BY_NAME: ReadonlyMap<string, string> = new Map([...Object.entries(NAMES), ["temperature", "Camera too warm"]]);

/** The name of an alert in words, for an ended alert: the alert's message would read like a new alert. */
export function alertName(alert: string): string {
  return BY_NAME.get(alert) ?? alert.replaceAll("-", " ");
}
