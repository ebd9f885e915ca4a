import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraDriver, Frame } from "./camera-driver.ts";

/** @param stopped is aborted when the camera is stopped, and must end the program */
export function programCamera(
  described: Pick<CameraDriver, "about" | "adjustable">,
  stopped: AbortController,
  take: (settings: WantedSettings) => Promise<Frame>,
): CameraDriver {
  let taking: Promise<unknown> | undefined;
  return {
    ...described,
    capture(settings) {
      const frame = take(settings);
      // Drops the result: otherwise the picture would stay in memory until the next one.
      taking = Promise.allSettled([frame]).then(() => {});
      return frame;
    },
    async stop() {
      stopped.abort();
      // The program uses the camera until it has exited.
      await taking;
    },
  };
}
