import { localDateOf, localDay, momentsShowing, type Range } from "../../../../../contract/schedule/local-time.ts";
import {
  capturePhaseMs,
  countCaptures,
  nextCaptures,
  type Window,
  windowsAround,
} from "../../../../../contract/schedule/planner.ts";
import { type Location, sunPosition } from "../../../../../contract/schedule/sun.ts";
import type { Entry } from "./draft.ts";

const SUN_STEP_MS = 600_000;
const MINUTES_AN_HOUR = 60;
/** The hours that the axis of a day names. */
export const AXIS_HOURS = [0, 6, 12, 18] as const;

export interface DayPlan {
  /** From midnight to midnight by the clocks at the camera. */
  day: Range;
  /** The windows of the day, cut at midnight, ordered by start. */
  windows: Window[];
  pictures: number;
  /** Moments and elevations in degrees. */
  sun: { at: number; elevation: number }[];
  /** When the clocks show the hours of {@link AXIS_HOURS}. */
  hours: { hour: number; at: number }[];
}

/**
 * What the camera would do on a day, as the camera itself plans it.
 * @throws RangeError when this browser does not know the time zone
 */
export function planDay(entries: readonly Entry[], camera: string, location: Location, at: Date): DayPlan {
  const day = localDay(at, location.timezone);
  const middle = new Date((day.start.getTime() + day.end.getTime()) / 2);
  const around = windowsAround({ entries: [...entries] }, location, middle);
  const windows = around
    .filter(({ start, end }) => start < day.end && end > day.start)
    .map((window) => ({
      ...window,
      start: window.start < day.start ? day.start : window.start,
      end: window.end > day.end ? day.end : window.end,
    }));
  const sun: DayPlan["sun"] = [];
  for (let moment = day.start.getTime(); moment <= day.end.getTime(); moment += SUN_STEP_MS)
    sun.push({ at: moment, elevation: sunPosition(new Date(moment), location).elevation });
  const date = localDateOf(middle, location.timezone);
  const hours = AXIS_HOURS.flatMap((hour) => {
    const minutes = hour * MINUTES_AN_HOUR;
    const [shown] = momentsShowing(date, minutes, minutes + MINUTES_AN_HOUR, location.timezone);
    return shown === undefined ? [] : [{ hour, at: shown.start.getTime() }];
  });
  return { day, windows, pictures: countCaptures(around, day, capturePhaseMs(camera)), sun, hours };
}

/** The next pictures, as the camera itself plans them. @throws RangeError as {@link planDay} */
export function nextPictures(
  entries: readonly Entry[],
  camera: string,
  location: Location,
  { after, count }: { after: Date; count: number },
): Date[] {
  const windows = windowsAround({ entries: [...entries] }, location, after);
  return nextCaptures(windows, after, count, capturePhaseMs(camera));
}

/** A moment as a share of the day, from 0 to 1. */
export function shareOf({ start, end }: Range, at: number): number {
  return (at - start.getTime()) / (end.getTime() - start.getTime());
}
