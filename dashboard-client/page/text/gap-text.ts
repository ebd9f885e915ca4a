import type { LinkGap } from "../../../contract/events.ts";
import { formatNumber, formatSpan } from "./format.ts";
import { t } from "./i18n.ts";

export function gapTitle({ count, filled }: Pick<LinkGap, "count" | "filled">): string {
  return t(filled === true ? "gap.late" : "gap.never", { count, number: formatNumber(count) });
}

export function gapSpan({ from, to }: LinkGap, timeZone: string | undefined, now: number): string {
  return formatSpan(from, to, timeZone, now);
}

export function gapReason({ reason }: LinkGap): string {
  return t(reason === "dropped" ? "gap.dropped" : "gap.numbers");
}
