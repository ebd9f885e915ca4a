import type { LinkGap } from "../../../contract/events.ts";
import { formatSpan } from "./format.ts";

/** How many events never arrived. */
export function gapTitle({ count, filled }: Pick<LinkGap, "count" | "filled">): string {
  const events = `${count.toLocaleString("en-GB")} event${count === 1 ? "" : "s"}`;
  return filled === true ? `${events} arrived after all` : `${events} never arrived`;
}

/** When they happened. */
export function gapSpan({ from, to }: LinkGap, timeZone: string | undefined, now: number): string {
  return formatSpan(from, to, timeZone, now);
}

/** Why, in as many words as a tooltip has room for. */
export function gapReason({ reason }: LinkGap): string {
  return reason === "dropped"
    ? "The camera had no room left to keep them while it had no link."
    : "Their numbers are missing between those of events that did arrive.";
}
