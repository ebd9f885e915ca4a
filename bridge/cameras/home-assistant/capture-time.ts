import { endOf } from "../../journal/entry-body.ts";
import type { Entry } from "../../journal/journal.ts";

/** The clock of a camera that sends live is wrong if it differs by more than this from the server's, milliseconds. */
const CLOCK_TOLERANCE_MS = 5 * 60_000;

/** When the picture of a `capture.completed` was taken, milliseconds since 1970, never later than its arrival. */
export function captureTimeOf(entry: Pick<Entry, "body" | "acceptedAt">): number {
  const { acceptedAt } = entry;
  const { timestamp, historical } = endOf(entry);
  const takenAt = Date.parse(timestamp);
  const isWrong = !historical && acceptedAt - takenAt > CLOCK_TOLERANCE_MS;
  return Number.isNaN(takenAt) || takenAt > acceptedAt || isWrong ? acceptedAt : takenAt;
}
