import type { ReactNode } from "react";
import type { CameraTabProps } from "./camera-tabs.tsx";

export default function SettingsTab(_props: CameraTabProps): ReactNode {
  return null;
}
