/** Crockford's base 32, as ULIDs are written. */
const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const ULID = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/;
const TIME_DIGITS = 10;
/** A clock may be this far ahead of ours, milliseconds. */
const MAX_AHEAD_MS = 5 * 60_000;
/** No picture of this system is older: a clock that says so was never set. */
const FIRST_PLAUSIBLE = Date.UTC(2020, 0, 1);

/**
 * When a capture was taken, milliseconds since 1970, for its name is a ULID; else undefined, as when that cannot be.
 * A preview is bytes without an envelope: its name is the only thing that tells a picture of now from one of a backlog.
 * @param senderAheadMs how far the clock by which it was named is ahead of the one of `now`
 */
export function captureTime(capture: string, now: number, senderAheadMs = 0): number | undefined {
  if (!ULID.test(capture)) return undefined;
  let time = 0;
  for (const digit of capture.slice(0, TIME_DIGITS)) time = time * 32 + DIGITS.indexOf(digit);
  time -= senderAheadMs;
  return time >= FIRST_PLAUSIBLE && time <= now + MAX_AHEAD_MS ? time : undefined;
}
