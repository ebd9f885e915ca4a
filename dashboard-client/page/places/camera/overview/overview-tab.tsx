import { type ReactNode, useCallback } from "react";
import type { RealTimeData } from "../../../../state/dashboard-store.ts";
import { CameraGaps } from "../../../components/camera-gaps.tsx";
import { useDashboard } from "../../../use-dashboard.ts";
import type { CameraTabProps } from "../camera-tab-props.ts";
import { CameraFacts } from "./camera-facts.tsx";
import { PicturePlayer } from "./picture-player.tsx";

export default function OverviewTab({ camera: id }: CameraTabProps): ReactNode {
  const { camera, live, lostAt } = useDashboard(
    useCallback(({ cameras, live, gap }: RealTimeData) => ({ camera: cameras.get(id), live, lostAt: gap?.at }), [id]),
  );
  if (camera === undefined) return null;
  return (
    <>
      <PicturePlayer camera={camera} live={live} lostAt={lostAt} />
      <CameraGaps camera={camera} />
      <CameraFacts camera={camera} live={live} />
    </>
  );
}
