import type { ReactNode } from "react";
import { useRealTimeData } from "../../../react/use-real-time-data.ts";
import { AlertsPanel } from "../../components/alerts-panel.tsx";
import { CameraGrid } from "../../components/camera-grid.tsx";
import { useServices } from "../../services.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";

export function FleetPlace(): ReactNode {
  const data = useRealTimeData();
  const { pictures } = useServices();
  usePlaceTitle("");
  return (
    <div className="place" data-live={data.live}>
      <AlertsPanel data={data} />
      <CameraGrid data={data} pictures={pictures} />
    </div>
  );
}
