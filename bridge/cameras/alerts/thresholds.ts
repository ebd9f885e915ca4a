import { defaultsOf } from "../../../platform/config.ts";
import { type AlertThresholds, alertSettings, alertThresholds } from "./config.ts";

export type { AlertThresholds } from "./config.ts";

export const DEFAULT_ALERT_THRESHOLDS: AlertThresholds = alertThresholds(defaultsOf(alertSettings));

/** Percentage points below the limit at which the storage alert is cleared. */
export const DISK_RELIEF = 5;
/** Percentage points above the limit at which the battery alert is cleared. */
export const BATTERY_RELIEF = 5;
/** The alerts about failures and queued jobs are cleared at this share of their limit. */
export const RELIEF_SHARE = 0.5;
