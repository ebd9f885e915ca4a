import type { AdjustableSettings, CameraSettings } from "../../../../../contract/events.ts";
import { formatExposure, formatNumber } from "../../../text/format.ts";
import { t } from "../../../text/i18n.ts";

export const SETTING_NAMES = ["exposure_s", "iso", "exposure_compensation", "white_balance", "quality", "hdr"] as const;
export type SettingName = (typeof SETTING_NAMES)[number];

/** The settings of a camera that does not say what it can do: everything that the contract allows. */
export const PLAIN_SETTINGS: AdjustableSettings = {
  exposure_s: { min: 0.0001, max: 600 },
  iso: { min: 50, max: 102_400, step: 1 },
  exposure_compensation: { min: -5, max: 5 },
  white_balance: { values: ["auto", "daylight", "cloudy", "tungsten", "fluorescent"] },
  quality: { min: 1, max: 100, step: 1 },
  hdr: { values: [true, false] },
};

/** The text of a form field. Empty: the camera chooses the value. */
export function fieldText(name: SettingName, value: CameraSettings[SettingName] | null): string {
  if (value === undefined || value === null || value === "auto") return "";
  if (name !== "exposure_s" || typeof value !== "number") return String(value);
  const parts = Math.round(1 / value);
  return parts > 3 && 1 / parts === value ? `1/${parts}` : String(value);
}

/**
 * The value that a form field says. Null: the camera chooses. NaN: the text is no number. An exposure may be written as
 * photographers write it, such as `1/250`.
 */
export function settingOf(name: SettingName, text: string): number | string | boolean | null {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (name === "white_balance") return trimmed;
  if (name === "hdr") return trimmed === "true";
  const [, over = "", under = "1"] = /^([+-]?\d*[.,]?\d+)(?:\s*\/\s*(\d+))?$/.exec(trimmed) ?? [];
  return over === "" ? Number.NaN : Number(over.replace(",", ".")) / Number(under);
}

export function isFieldRight(name: SettingName, text: string, adjustable: AdjustableSettings): boolean {
  const value = settingOf(name, text);
  const choice = adjustable[name];
  if (value === null || choice === undefined) return true;
  if ("values" in choice) return (choice.values as readonly unknown[]).includes(value);
  if (typeof value !== "number" || !(value >= choice.min && value <= choice.max)) return false;
  // Settings with whole numbers have the step 1.
  return choice.step !== 1 || Number.isInteger(value);
}

export function settingText(name: SettingName, value: number | string | boolean): string {
  if (name === "exposure_s" && typeof value === "number") return formatExposure(value);
  if (name === "exposure_compensation" && typeof value === "number")
    return `${value > 0 ? "+" : ""}${formatNumber(value, Number.isInteger(value) ? 0 : 1)} EV`;
  if (name === "white_balance")
    return t(`settings.white_balance_${value as NonNullable<CameraSettings["white_balance"]>}`);
  if (typeof value === "boolean") return t(value ? "settings.on" : "settings.off");
  return String(value);
}
