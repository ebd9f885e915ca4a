import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraDriver, Frame } from "./camera-driver.ts";

/**
 * A camera driven by a program.
 * @param stopped a signal that is aborted when the camera is stopped, and must end the program
 */
export function programCamera(
  about: CameraDriver["about"],
  stopped: AbortController,
  take: (settings: WantedSettings) => Promise<Frame>,
): CameraDriver {
  /** Settles when the present picture is finished. */
  let taking: Promise<unknown> | undefined;
  return {
    about,
    capture(settings) {
      const frame = take(settings);
      // Resolves without the picture, which would otherwise stay in memory until the next one.
      taking = frame.then(
        () => {},
        () => {},
      );
      return frame;
    },
    async stop() {
      stopped.abort();
      // The program uses the camera until it has exited.
      await taking;
    },
  };
}
