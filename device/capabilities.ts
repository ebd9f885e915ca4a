import type { CommandName } from "../contract/commands.ts";
import type { Capabilities } from "../contract/events.ts";
import type { CameraDriver } from "./cameras/camera-driver.ts";
import { DEFAULT_MAX_SLEEP_DAYS } from "./capture/sleep.ts";
import type { CameraConfig } from "./config.ts";

interface CapabilitiesOptions {
  config: Pick<CameraConfig, "sleep" | "preview">;
  camera: Pick<CameraDriver, "watch" | "adjustable">;
  /** Undefined: the camera stores no pictures. */
  images: object | undefined;
}

/** What this camera can do, so that nobody offers a command that must fail. */
export function capabilitiesOf({ config, camera, images }: CapabilitiesOptions): Capabilities {
  const { adjustable = {}, watch } = camera;
  const sendsPreviews = config.preview.every > 0 || config.preview.onDemand !== false;
  const isOffered: Record<CommandName, boolean> = {
    "capture.now": watch === undefined,
    "schedule.set": watch === undefined,
    "settings.set": Object.keys(adjustable).length > 0,
    "preview.send": images !== undefined && sendsPreviews,
    reboot: true,
    sleep: true,
  };
  const { maxDays = DEFAULT_MAX_SLEEP_DAYS } = config.sleep ?? {};
  return {
    commands: Object.entries(isOffered).flatMap(([name, isTrue]) => (isTrue ? [name] : [])),
    settings: adjustable,
    ...(Number.isFinite(maxDays) ? { max_sleep_days: maxDays } : {}),
  };
}
