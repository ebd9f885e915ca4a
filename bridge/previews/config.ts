import { hoursVariable, limitVariable, setting, type ValuesOf } from "../../platform/config.ts";
import type { serverSettings } from "../../platform/server-settings.ts";

export const previewSettings = {
  PREVIEW_HOURS: setting(
    "Time for which a preview is kept after its arrival. The newest of each camera stays.",
    hoursVariable.default(48),
    { mustAgree: true },
  ),
  MAX_PREVIEWS_PER_CAMERA: setting(
    "Previews of one camera; above this its oldest are removed. The default is 48 hours at one in 30 seconds.",
    limitVariable.default(6_000),
    { mustAgree: true },
  ),
  MAX_PREVIEW_BYTES_PER_CAMERA: setting(
    "Size of all previews of one camera; above this its oldest are removed.",
    limitVariable.default(268_435_456),
    { mustAgree: true },
  ),
  MAX_PREVIEWS: setting("Previews of all cameras; above this the oldest are removed.", limitVariable.default(100_000), {
    mustAgree: true,
  }),
  MAX_PREVIEW_BYTES: setting(
    "Size of all previews; above this the oldest are removed.",
    limitVariable.default(2_147_483_648),
    { mustAgree: true },
  ),
};

export type PreviewLimits = ReturnType<typeof previewLimits>;

export function previewLimits(read: ValuesOf<typeof previewSettings & Pick<typeof serverSettings, "MAX_CAMERAS">>) {
  return {
    /** How long a preview is kept after its arrival. A camera's newest preview does not expire. */
    keepMs: read.PREVIEW_HOURS * 3_600_000,
    maxPreviewsPerCamera: read.MAX_PREVIEWS_PER_CAMERA,
    maxBytesPerCamera: read.MAX_PREVIEW_BYTES_PER_CAMERA,
    maxPreviews: read.MAX_PREVIEWS,
    maxBytes: read.MAX_PREVIEW_BYTES,
    /** Above this, the camera that has been silent longest loses its previews. */
    maxCameras: read.MAX_CAMERAS,
  };
}
