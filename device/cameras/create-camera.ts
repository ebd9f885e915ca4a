import type { DeviceConfig } from "../config.ts";
import type { CameraDriver } from "./camera-driver.ts";
import { createSimulatedCamera } from "./simulated.ts";

/** The driver that `CAMERA_DRIVER` names. */
export function createCamera({ driver, camera }: DeviceConfig): CameraDriver {
  switch (driver) {
    case "simulated":
      return createSimulatedCamera({ location: camera.location, seed: camera.id });
  }
}
