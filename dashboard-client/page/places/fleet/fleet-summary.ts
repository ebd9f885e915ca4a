import type { Presence } from "../../../../contract/events.ts";
import type { AlertState } from "../../../state/alert-state.ts";
import type { CameraState } from "../../../state/camera-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { recentGaps } from "../../components/camera-gaps.tsx";

/** `gap`: online, but some of the camera's events never arrived. */
export type FleetState = Presence["status"] | "gap";

/** Cameras with a lower rank need attention first. */
const RANK: Readonly<Record<FleetState, number>> = {
  ...{ offline: 0, overslept: 1, stale: 2, unknown: 3, gap: 4 },
  ...{ never_seen: 5, sleeping: 6, online: 7 },
};
const SEVERITY = { critical: 0, warning: 1, info: 2 };

/** What the list of cameras needs of one camera. */
export interface Summary {
  id: string;
  name: string;
  state: FleetState;
  /** Percent. Undefined without a battery. */
  battery: number | undefined;
  /** The used part of the storage, 0 to 1. */
  storage: number | undefined;
  /** When the last picture was taken or arrived, milliseconds since 1970. */
  pictureAt: number | undefined;
  groups: readonly { id: string; name: string }[];
  tags: readonly string[];
  /** In lower case, for the search. */
  words: string;
}

const summaries = new WeakMap<CameraState, Summary>();

/** A camera's state is immutable, so a summary is computed once for each change of the camera. */
export function summaryOf(camera: CameraState, now: number): Summary {
  const known = summaries.get(camera);
  if (known !== undefined) return known;
  const { id, about, record, storage, power, preview } = camera;
  const { groups = [], tags = [] } = record?.value ?? {};
  const name = record?.value.name ?? about?.value.name ?? id;
  const at = camera.pictureTaken?.at ?? preview?.at;
  const summary: Summary = {
    ...{ id, name, groups, tags, state: stateOf(camera, now) },
    battery: power?.value.battery_percent,
    storage: storage === undefined ? undefined : usedPart(storage.value),
    pictureAt: at === undefined ? undefined : Date.parse(at),
    words: [id, name, ...tags, ...groups.map((group) => group.name)].join("\n").toLowerCase(),
  };
  summaries.set(camera, summary);
  return summary;
}

export function stateOf(camera: Pick<CameraState, "presence" | "gaps">, now: number): FleetState {
  const status = camera.presence?.value.status ?? "unknown";
  return status === "online" && missingEvents(camera, now) > 0 ? "gap" : status;
}

/** The number of events of the last 48 hours that never arrived. */
export function missingEvents(camera: Pick<CameraState, "gaps">, now: number): number {
  return recentGaps(camera, now).reduce((sum, { count, filled }) => (filled === true ? sum : sum + count), 0);
}

export function usedPart({ free_bytes, total_bytes }: { free_bytes: number; total_bytes: number }): number {
  return total_bytes === 0 ? 0 : 1 - free_bytes / total_bytes;
}

export function rankOf({ state }: Summary, alert: AlertSummary | undefined): number {
  // A camera with an alert comes before cameras that work.
  return alert !== undefined && alert.worst.severity !== "info" ? Math.min(RANK[state], RANK.gap) : RANK[state];
}

export interface AlertSummary {
  worst: AlertState;
  count: number;
}

const byCamera = new WeakMap<RealTimeData["alerts"], ReadonlyMap<string, AlertSummary>>();

/** The alerts of each camera, computed once for each change of the alerts. */
export function alertsByCamera(alerts: RealTimeData["alerts"]): ReadonlyMap<string, AlertSummary> {
  const known = byCamera.get(alerts);
  if (known !== undefined) return known;
  const found = new Map<string, AlertSummary>();
  for (const alert of alerts.values()) {
    if (alert.camera === undefined) continue;
    const before = found.get(alert.camera);
    const isWorse = before === undefined || SEVERITY[alert.severity] < SEVERITY[before.worst.severity];
    found.set(alert.camera, { worst: isWorse ? alert : before.worst, count: (before?.count ?? 0) + 1 });
  }
  byCamera.set(alerts, found);
  return found;
}
