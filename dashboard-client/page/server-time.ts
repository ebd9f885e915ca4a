/** Smaller differences are not corrected: the header `Date` has whole seconds, and a response takes time. */
const TOLERANCE_MS = 2000;

let offsetMs = 0;

/**
 * Notes the server's clock from a response, so that ages are right on a machine with a wrong clock.
 * @param date the header `Date`
 * @param sentAt when the request was sent, by the clock of this machine, milliseconds since 1970
 */
export function noteServerTime(date: string | null, sentAt: number, receivedAt = Date.now()): void {
  const at = Date.parse(date ?? "");
  // A response from a cache, or one that took long, says little about the clock.
  if (Number.isNaN(at) || receivedAt - sentAt > 10 * TOLERANCE_MS) return;
  const difference = at + 500 - (sentAt + receivedAt) / 2;
  const uncertainty = TOLERANCE_MS + (receivedAt - sentAt) / 2;
  offsetMs = Math.abs(difference) <= uncertainty ? 0 : difference;
}

/** The time by the server's clock, milliseconds since 1970. By the clock of this machine until a response was noted. */
export function serverNow(): number {
  return Date.now() + offsetMs;
}
