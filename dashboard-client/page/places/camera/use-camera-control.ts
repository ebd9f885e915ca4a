import { useCallback } from "react";
import type { DesiredState } from "../../../../contract/desired.ts";
import type { CameraState } from "../../../state/camera-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { type TextKey, t } from "../../text/i18n.ts";
import { useDashboard } from "../../use-dashboard.ts";

/** What the forms of a camera need of its state. Measurements are not a part, because they change all the time. */
export type CameraControl = Pick<CameraState, "schedule" | "settings" | "about" | "presence" | "lastCapture"> & {
  desired: DesiredState | undefined;
  freeBytes: number | undefined;
  connected: boolean;
  canCommand: boolean;
};

export function useCameraControl(id: string): CameraControl {
  const select = useCallback(
    ({ cameras, connection, grants }: RealTimeData) => {
      const { schedule, settings, desired, about, presence, lastCapture, storage } = cameras.get(id) ?? {};
      return {
        ...{ schedule, settings, about, presence, lastCapture },
        desired: desired?.value,
        freeBytes: storage?.value.free_bytes,
        connected: connection.status === "connected",
        canCommand: grants.canCommand(id),
      } as CameraControl;
    },
    [id],
  );
  return useDashboard(select);
}

/** Why a camera cannot be told something now; undefined if it can. Without capabilities, everything may be tried. */
export function whyNot({ canCommand, connected, about }: CameraControl, command: string): string | undefined {
  const capabilities = about?.value.capabilities;
  let why: TextKey | undefined;
  if (!canCommand) why = "manage.whyNoPermission";
  else if (!connected) why = "manage.whyNotConnected";
  else if (capabilities !== undefined && !capabilities.commands.includes(command)) why = "manage.whyCannot";
  return why === undefined ? undefined : t(why);
}

/** A user id without its prefix, or the operator key by its name. */
export function personOf(by: string): string {
  return by === "operator" ? t("manage.operatorKey") : by.replace(/^user:/, "");
}
