import { useMemo } from "react";
import { cameraChannel } from "../../contract/channels.ts";
import type { Client } from "../client/client.ts";
import type { CameraState } from "../state/camera-state.ts";
import type { RealTimeData } from "../state/dashboard-store.ts";
import { useRealTimeData } from "./use-real-time-data.ts";

/** One camera, and whether its data is current. */
export interface CameraData
  extends Pick<RealTimeData, "live" | "asOf" | "loaded" | "alerts" | "activity" | "connection"> {
  /** Undefined until the camera's state has arrived, and for a camera that the server does not know. */
  camera: CameraState | undefined;
  /** The token allows commands to this camera. */
  canCommand: boolean;
}

/**
 * The state of one camera, from the channel of this camera: the server sends no events of other cameras.
 * @param id the id of the camera
 * @param options.client default: the client of the nearest `RealTimeProvider`
 * @throws {RangeError} the id is not a camera id
 */
export function useCamera(id: string, options: { client?: Client } = {}): CameraData {
  const data = useRealTimeData(cameraChannel(id), options);
  return useMemo(() => {
    const { live, asOf, loaded, alerts, activity, connection } = data;
    return {
      ...{ live, asOf, loaded, alerts, activity, connection },
      camera: data.cameras.get(id),
      canCommand: data.canCommand(id),
    };
  }, [data, id]);
}
