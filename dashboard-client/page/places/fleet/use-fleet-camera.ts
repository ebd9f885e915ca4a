import { useCallback } from "react";
import type { CameraState } from "../../../state/camera-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { serverNow } from "../../server-time.ts";
import { useDashboard } from "../../use-dashboard.ts";
import {
  type AlertSummary,
  alertsByCamera,
  type FleetState,
  missingEvents,
  stateOf,
  summaryOf,
} from "./fleet-summary.ts";

/** The part of the state that a card shows of its camera. */
export interface FleetCamera {
  id: string;
  name: string;
  about: CameraState["about"];
  presence: CameraState["presence"];
  preview: CameraState["preview"];
  pictureTaken: CameraState["pictureTaken"];
  storage: CameraState["storage"];
  power: CameraState["power"];
  tags: readonly string[];
  state: FleetState;
  /** Events of the last 48 hours that never arrived. */
  missing: number;
  alert: AlertSummary | undefined;
  /** When the page last missed events: a picture may be newer than the last known one. */
  lostAt: NonNullable<RealTimeData["gap"]>["at"] | undefined;
  /** Whether the page's data is current. */
  live: boolean;
  /** The page is connected and loads what it missed. */
  catchingUp: boolean;
}

const NO_TAGS: readonly string[] = [];

/** A card is rendered again only when one of these parts changes, not for each event of its camera. */
export function useFleetCamera(id: string): FleetCamera {
  return useDashboard(useCallback((data: RealTimeData) => fleetCamera(data, id), [id]));
}

function fleetCamera({ cameras, alerts, gap, live, subscription }: RealTimeData, id: string): FleetCamera {
  const camera = cameras.get(id) ?? { id };
  const now = serverNow();
  const { about, presence, preview, pictureTaken, storage, power, record } = camera;
  return {
    ...{ id, name: summaryOf(camera, now).name, about, presence, preview, pictureTaken, storage, power },
    ...{ tags: record?.value.tags ?? NO_TAGS, state: stateOf(camera, now), missing: missingEvents(camera, now) },
    ...{ alert: alertsByCamera(alerts).get(id), live, lostAt: gap?.at },
    catchingUp: !live && (subscription.status === "snapshot" || subscription.status === "catching_up"),
  };
}
