import type { RealTimeData } from "../state/dashboard-store.ts";
import { nameOf, zoneOf } from "./text/camera-status.ts";
import { useDashboard } from "./use-dashboard.ts";

const names = (data: RealTimeData): Record<string, string> =>
  Object.fromEntries([...data.cameras.keys()].map((id) => [id, nameOf(data, id) ?? id]));
const zones = (data: RealTimeData): Record<string, string | undefined> =>
  Object.fromEntries([...data.cameras.keys()].map((id) => [id, zoneOf(data, id)]));

/** The names of the cameras by id. */
export function useCameraNames(): Readonly<Record<string, string>> {
  return useDashboard(names);
}

/** The time zones of the cameras by id. */
export function useCameraZones(): Readonly<Record<string, string | undefined>> {
  return useDashboard(zones);
}
