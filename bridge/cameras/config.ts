import { countVariable, defaultsOf, positiveVariable, setting, type ValuesOf } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";

export const cameraSettings = {
  PRESENCE_GRACE_MS: setting(
    "Time for which a camera's link may be lost before the camera is called offline. Choose it together with the camera's " +
      "`KEEPALIVE_S`: a dead link is noticed after 1.5 times the keep-alive.",
    countVariable.default(30_000),
    { mustAgree: true },
  ),
  LINK_GAP_SETTLE_SECONDS: setting(
    "Missing sequence numbers of a camera are reported as a gap after this time without a message of its backlog.",
    positiveVariable.default(120),
    { mustAgree: true },
  ),
};

export function cameraConfig(read: ValuesOf<typeof cameraSettings & Pick<typeof serverSettings, "MAX_CAMERAS">>) {
  return {
    presence: { graceMs: read.PRESENCE_GRACE_MS, maxCameras: read.MAX_CAMERAS },
    linkGaps: { settleMs: read.LINK_GAP_SETTLE_SECONDS * 1000 },
  };
}

export const CAMERA_DEFAULTS = cameraConfig(defaultsOf({ ...cameraSettings, MAX_CAMERAS: serverSettings.MAX_CAMERAS }));
