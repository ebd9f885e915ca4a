import type { ReactNode } from "react";
import { useRealTimeData } from "../../../../react/use-real-time-data.ts";
import { CameraCard } from "../../../components/camera-card.tsx";
import { useServices } from "../../../services.tsx";
import type { CameraTabProps } from "../camera-tabs.tsx";

export default function OverviewTab({ camera: id }: CameraTabProps): ReactNode {
  const data = useRealTimeData();
  const { pictures } = useServices();
  const camera = data.cameras.get(id);
  return camera && <CameraCard camera={camera} data={data} pictures={pictures} featured />;
}
