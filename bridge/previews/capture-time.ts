/** Crockford's base 32, the alphabet of ULIDs, in lower case. */
const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const ULID = /^[0-7][0-9a-hjkmnp-tv-z]{25}$/;
const TIME_DIGITS = 10;
/** How far a capture's time may be in the future. */
const MAX_AHEAD_MS = 5 * 60_000;
/** No capture is older: a camera whose clock shows an earlier time has never set its clock. */
const FIRST_PLAUSIBLE = Date.UTC(2020, 0, 1);

/**
 * Reads the time of a capture from its ULID. A preview has no envelope, so only the capture id shows whether the
 * preview is from a backlog.
 * @param senderAheadMs how far the camera's clock is ahead of the clock of `now`
 * @returns milliseconds since 1970; undefined if the id is not a ULID or the time is implausible
 */
export function captureTime(capture: string, now: number, senderAheadMs = 0): number | undefined {
  const ulidTime = timeOfUlid(capture);
  if (ulidTime === undefined) return undefined;
  const time = ulidTime - senderAheadMs;
  return time >= FIRST_PLAUSIBLE && time <= now + MAX_AHEAD_MS ? time : undefined;
}

/** The time in a ULID, milliseconds since 1970; undefined if the text is no ULID in lower case. */
export function timeOfUlid(text: string): number | undefined {
  if (!ULID.test(text)) return undefined;
  let time = 0;
  for (const digit of text.slice(0, TIME_DIGITS)) time = time * 32 + DIGITS.indexOf(digit);
  return time;
}
