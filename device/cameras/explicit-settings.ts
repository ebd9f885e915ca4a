import type { WantedSettings } from "../../contract/commands.ts";
import type { CameraSettings } from "../../contract/events.ts";

/** The settings that have a value. The camera chooses those that were reset to `null`. */
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
