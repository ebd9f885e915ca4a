import type { ReactNode } from "react";
import { useRealTimeData } from "../../../../react/use-real-time-data.ts";
import { CaptureNow } from "../../../components/capture-now.tsx";

/** Rendered at each event, apart from the large picture. */
export function CaptureButton({ camera, name }: { camera: string; name: string }): ReactNode {
  return <CaptureNow camera={camera} name={name} data={useRealTimeData()} />;
}
