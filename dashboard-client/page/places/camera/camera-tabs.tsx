import { type ComponentType, lazy } from "react";
import type { ChannelGrants } from "../../../../contract/permissions.ts";
import type { CameraTabProps } from "./camera-tab-props.ts";

export type CameraTabName = "overview" | "charts" | "history" | "schedule" | "settings" | "commands" | "manage";

export interface CameraTab {
  /** The last part of the address, such as `#/cameras/north/charts`; the text `camera.tab.{name}` is its title. */
  name: CameraTabName;
  /** Whether a token may see the tab. Default: every token that sees the camera. */
  isAllowed?: (grants: ChannelGrants, camera: string) => boolean;
  Content: ComponentType<CameraTabProps>;
}

const mayCommand = (grants: ChannelGrants, camera: string): boolean => grants.canCommand(camera);

/** The parts of the place of a camera. Each is loaded when somebody opens it. */
export const CAMERA_TABS: readonly CameraTab[] = [
  { name: "overview", Content: lazy(() => import("./overview/overview-tab.tsx")) },
  { name: "charts", Content: lazy(() => import("./charts/charts-tab.tsx")) },
  { name: "history", Content: lazy(() => import("./history/history-tab.tsx")) },
  { name: "schedule", Content: lazy(() => import("./schedule-tab.tsx")) },
  { name: "settings", Content: lazy(() => import("./settings-tab.tsx")) },
  { name: "commands", isAllowed: mayCommand, Content: lazy(() => import("./commands-tab.tsx")) },
  { name: "manage", isAllowed: (grants) => grants.admin, Content: lazy(() => import("./manage-tab.tsx")) },
];
