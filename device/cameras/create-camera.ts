import type { DeviceConfig } from "../config.ts";
import type { CameraDriver } from "./camera-driver.ts";
import { createFolderCamera } from "./folder.ts";
import { createGphoto2 } from "./gphoto2.ts";
import { createRpicam } from "./rpicam.ts";
import { createSimulatedCamera } from "./simulated.ts";

/** The driver that `CAMERA_DRIVER` names. */
export function createCamera({ driver, camera }: DeviceConfig): CameraDriver {
  const { name, model, timeoutMs, args, folder = "", depth, deleteTaken } = driver;
  const named = model === undefined ? {} : { model };
  switch (name) {
    case "simulated":
      return createSimulatedCamera({ location: camera.location, seed: camera.id });
    case "rpicam":
      return createRpicam({ timeoutMs, args, ...named });
    case "gphoto2":
      return createGphoto2({ timeoutMs, args, ...named });
    case "folder":
      return createFolderCamera({ path: folder, depth, deleteTaken, ...named });
  }
}
