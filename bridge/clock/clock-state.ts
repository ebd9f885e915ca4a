/** The server's own clock and its relation to the system's clock. All times in milliseconds since 1970. */
export interface ClockState {
  /** The server's own clock, which measures all ages: of retention, sessions, presence. */
  readonly time: number;
  /** The system's clock at the same moment. */
  readonly wall: number;
  /** The confirmed difference: how far the system's clock may be ahead of the server's own clock. */
  readonly offset: number;
  /** Network time has confirmed the offset. */
  readonly trusted: boolean;
}

/** A larger deviation is a jump; a smaller one is corrected in steps. Cameras' clocks have the same tolerance. */
export const JUMP_MS = 5 * 60_000;
/** The largest correction of the server's clock, as a share of the elapsed running time. */
const FOLLOW_SHARE = 0.1;

/** @param wall the system's clock */
export function newClockState(wall: number): ClockState {
  return { time: wall, wall, offset: 0, trusted: false };
}

/** How far the system's clock is ahead of the server's own clock plus the confirmed offset; negative if behind. */
export function deviationOf({ time, wall, offset }: ClockState): number {
  return wall - time - offset;
}

export function hasJumped(state: ClockState): boolean {
  return Math.abs(deviationOf(state)) > JUMP_MS;
}

/**
 * Advances the server's clock by the running time. The correction of a small deviation is at most a tenth of that time,
 * so the server's clock never runs backwards. A jump is not corrected.
 * @param elapsedMs the running time since `state`; 0 when unknown
 */
export function advance(state: ClockState, { wall, elapsedMs }: { wall: number; elapsedMs: number }): ClockState {
  const next = { ...state, wall, time: state.time + elapsedMs };
  if (hasJumped(next)) return next;
  const stepMs = FOLLOW_SHARE * elapsedMs;
  return { ...next, time: next.time + Math.max(-stepMs, Math.min(stepMs, deviationOf(next))) };
}

/**
 * Confirms that the system's clock is right.
 * @param timePassed true: the server was off for the time of the deviation, so all ages grow by this time. False: the
 *   system's clock was corrected, and no age changes. A clock that was set back counts as corrected in both cases.
 */
export function confirm(
  state: ClockState,
  { timePassed, trusted }: { timePassed: boolean; trusted: boolean },
): ClockState {
  const deviation = deviationOf(state);
  if (timePassed && deviation > 0) return { ...state, time: state.time + deviation, trusted };
  return { ...state, offset: state.offset + deviation, trusted };
}
