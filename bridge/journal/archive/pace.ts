import { performance } from "node:perf_hooks";

/** Below this utilization of the event loop, live events leave enough time for the archive. */
const CALM = 0.5;
/** The archive always gets this share of the time, so that it never stands still. */
const MIN_SHARE = 0.02;
/** The longest pause after a page. So the archive copies some 200 events a second or more. */
const MAX_PAUSE_MS = 1_000;
/**
 * When the lag exceeds this part of its limit, the archive gets more time. At {@link FULL}, it gets all the time it
 * needs.
 */
const FILLING = 0.5;
const FULL = 0.9;

/** The events of a page. A page occupies the event loop for a moment, so pages are small while it is busy. */
const PAGE_EVENTS = { calm: 1_000, busy: 250 };

/** A part of the time, from 0 to 1. */
type Share = number;

/**
 * The share of the time in which the archive may work. Live events come first. But a journal that removes events before
 * they are archived would be worse, so the archive works more when its lag approaches the limit.
 * @param utilization of the event loop, from 0 to 1
 * @param lag the events that are not archived, as a part of the largest allowed number
 */
export function shareOf(utilization: number, lag: number): Share {
  const free = utilization <= CALM ? 1 : (1 - utilization) / (1 - CALM);
  const urgent = (lag - FILLING) / (FULL - FILLING);
  return Math.min(1, Math.max(MIN_SHARE, free, urgent));
}

/** Decides how fast the archive copies. */
export class ArchivePace {
  readonly #utilization: () => number;
  #share: Share = 1;
  #pageAt = 0;

  /**
   * @param utilization returns how busy the event loop was since the last call. Default: the event loop of this thread
   */
  constructor(utilization: () => number = eventLoopUtilization()) {
    this.#utilization = utilization;
  }

  /** Call this before each page. @returns the largest number of events in the page */
  begin(): number {
    this.#pageAt = performance.now();
    return this.#share < 1 ? PAGE_EVENTS.busy : PAGE_EVENTS.calm;
  }

  /** Call this after each page. @param lag as in {@link shareOf} @returns the pause before the next page, milliseconds */
  end(lag: number): number {
    this.#share = shareOf(this.#utilization(), lag);
    const pageMs = performance.now() - this.#pageAt;
    return Math.min(MAX_PAUSE_MS, pageMs * (1 / this.#share - 1));
  }
}

function eventLoopUtilization(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
