import type { CameraAlertName, ServiceAlertName } from "../../../contract/events.ts";

const NAMES: Readonly<Record<CameraAlertName | ServiceAlertName, string>> = {
  offline: "Camera offline",
  overslept: "Camera did not wake",
  battery: "Battery nearly empty",
  "no-capture": "No pictures",
  disk: "Storage nearly full",
  "disk-writes": "Disk takes no writes",
  failures: "Failing pictures",
  "duplicate-client-id": "Two devices with one name",
  "job-queue": "Long queue",
  "worker-silent": "Silent processing service",
};

/** What cameras find out about themselves comes beside it. */
const BY_NAME: ReadonlyMap<string, string> = new Map([...Object.entries(NAMES), ["temperature", "Camera too warm"]]);

/** An alert's name in words: what is said of it when it is over, and its message would sound like news. */
export function alertName(alert: string): string {
  return BY_NAME.get(alert) ?? alert.replaceAll("-", " ");
}
