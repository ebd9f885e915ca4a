import type { ReactNode } from "react";
import type { AdjustableSettings, CameraSettings } from "../../../../../contract/events.ts";
import { formatNumber } from "../../../text/format.ts";
import { t } from "../../../text/i18n.ts";
import { Choice } from "../../../ui/choice.tsx";
import { TextField } from "../../../ui/text-field.tsx";
import { isFieldRight, type SettingName, settingText } from "./choices.ts";

interface SettingFieldProps {
  name: SettingName;
  adjustable: AdjustableSettings;
  /** Empty: the camera chooses the value. */
  text: string;
  onChange: (text: string) => void;
  /** What the last picture was taken with. */
  used: CameraSettings[SettingName];
}

/** A field made from what the camera says it can do: a list of values, or a number in a range. */
export function SettingField({ name, adjustable, text, onChange, used }: SettingFieldProps): ReactNode {
  const choice = adjustable[name];
  if (choice === undefined) return null;
  const label = t(`settings.${name}`);
  const lastUsed = used === undefined ? undefined : t("settings.lastUsed", { value: settingText(name, used) });
  if (!("values" in choice)) {
    const range = t(name === "exposure_s" ? "settings.exposureRange" : "settings.range", {
      min: settingRange(name, choice.min),
      max: settingRange(name, choice.max),
    });
    return (
      <TextField
        label={label}
        inputMode={name === "exposure_s" || name === "exposure_compensation" ? "text" : "numeric"}
        placeholder={t("settings.automatic")}
        hint={lastUsed === undefined ? range : `${range} ${lastUsed}`}
        problem={isFieldRight(name, text, adjustable) ? undefined : range}
        value={text}
        onChange={(event) => onChange(event.target.value)}
      />
    );
  }
  const offered = choice.values
    .filter((value) => value !== "auto")
    .map((value) => [String(value), settingText(name, value)] as const);
  // A camera may have a value that it does not offer, from its own configuration.
  const isOffered = text === "" || offered.some(([value]) => value === text);
  return (
    <div>
      <Choice
        label={label}
        value={text}
        options={[["", t("settings.automatic")], ...offered, ...(isOffered ? [] : [[text, text] as const])]}
        onChange={onChange}
      />
      {lastUsed !== undefined && <p className="field-note">{lastUsed}</p>}
    </div>
  );
}

function settingRange(name: SettingName, value: number): string {
  return name === "exposure_s" ? settingText(name, value) : formatNumber(value);
}
