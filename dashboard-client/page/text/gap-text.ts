import type { LinkGap } from "../../../contract/events.ts";
import { formatSpan } from "./format.ts";

export function gapTitle({ count, filled }: Pick<LinkGap, "count" | "filled">): string {
  const events = `${count.toLocaleString("en-GB")} event${count === 1 ? "" : "s"}`;
  return filled === true ? `${events} arrived late` : `${events} never arrived`;
}

export function gapSpan({ from, to }: LinkGap, timeZone: string | undefined, now: number): string {
  return formatSpan(from, to, timeZone, now);
}

export function gapReason({ reason }: LinkGap): string {
  return reason === "dropped"
    ? "The camera was offline and its storage for unsent events was full."
    : "Their sequence numbers are missing between those of events that did arrive.";
}
