import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraSettings } from "../../contract/events.ts";

/** Without the settings that were reset to `null`: the camera chooses these. */
export function explicitSettings(wanted: WantedSettings): CameraSettings {
  const { exposure_s, iso, exposure_compensation, white_balance, quality, hdr } = wanted;
  return {
    ...(exposure_s == null ? {} : { exposure_s }),
    ...(iso == null ? {} : { iso }),
    ...(exposure_compensation == null ? {} : { exposure_compensation }),
    ...(white_balance == null ? {} : { white_balance }),
    ...(quality == null ? {} : { quality }),
    ...(hdr == null ? {} : { hdr }),
  };
}
