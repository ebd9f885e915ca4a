/** What the server's own clock is, and how it stands to the system's. All moments in milliseconds. */
export interface ClockState {
  /** The server's own clock: by it everything grows old. */
  readonly time: number;
  /** The system's clock at that moment, since 1970. */
  readonly wall: number;
  /** How far the system's clock is ahead of the server's own by right. */
  readonly offset: number;
  /** Network time has confirmed the offset: the system's clock was right while it stood so. */
  readonly trusted: boolean;
}

/** What may be made up for in small steps; more is a jump. Cameras and tokens are allowed as much. */
export const JUMP_MS = 5 * 60_000;
/** The share of the running time by which the server's clock follows the system's. */
const FOLLOW_SHARE = 0.1;

/** @param wall the system's clock */
export function newClockState(wall: number): ClockState {
  return { time: wall, wall, offset: 0, trusted: false };
}

/** How far the system's clock is ahead of where it should be; negative: behind. */
export function deviationOf({ time, wall, offset }: ClockState): number {
  return wall - time - offset;
}

export function hasJumped(state: ClockState): boolean {
  return Math.abs(deviationOf(state)) > JUMP_MS;
}

/**
 * Time has passed. A small difference from the system's clock is made up for in steps of a tenth of that time, so that
 * the server's clock never goes back; a jump changes nothing.
 * @param elapsedMs the running time since `state`; 0 when nobody knows
 */
export function advance(state: ClockState, { wall, elapsedMs }: { wall: number; elapsedMs: number }): ClockState {
  const next = { ...state, wall, time: state.time + elapsedMs };
  if (hasJumped(next)) return next;
  const stepMs = FOLLOW_SHARE * elapsedMs;
  return { ...next, time: next.time + Math.max(-stepMs, Math.min(stepMs, deviationOf(next))) };
}

/**
 * The system's clock is right as it is.
 * @param timePassed the difference is time in which the server did not run: everything is older by it. Else the clock was
 * put right, and nothing is older. A clock that is behind was put right: no time runs backwards.
 */
export function confirm(
  state: ClockState,
  { timePassed, trusted }: { timePassed: boolean; trusted: boolean },
): ClockState {
  const deviation = deviationOf(state);
  if (timePassed && deviation > 0) return { ...state, time: state.time + deviation, trusted };
  return { ...state, offset: state.offset + deviation, trusted };
}
