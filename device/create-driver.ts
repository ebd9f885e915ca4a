import type { CameraDriver } from "./cameras/camera-driver.ts";
import { FolderCamera } from "./cameras/folder.ts";
import { createGphoto2 } from "./cameras/gphoto2.ts";
import { createRpicam } from "./cameras/rpicam.ts";
import type { DeviceConfig } from "./config.ts";
import { SimulatedCamera } from "./simulator/simulated-camera.ts";

export function createDriver({ driver, camera }: DeviceConfig): CameraDriver {
  const { name, model, timeoutMs, args, folder = "", depth, deleteTaken } = driver;
  const named = model === undefined ? {} : { model };
  switch (name) {
    case "simulated":
      return new SimulatedCamera({ location: camera.location, seed: camera.id });
    case "rpicam":
      return createRpicam({ timeoutMs, args, ...named });
    case "gphoto2":
      return createGphoto2({ timeoutMs, args, ...named });
    case "folder":
      return new FolderCamera({ path: folder, depth, deleteTaken, ...named });
  }
}
