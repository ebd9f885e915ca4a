import { CAMERA_DEFAULTS } from "./config.ts";

/** A gap in a camera's sequence numbers: the messages that are missing between two that arrived. */
export interface SequenceGap {
  /** The first and the last number that were missing when the gap was found. */
  readonly first: number;
  readonly last: number;
  /** The numbers that are still missing, as inclusive ranges in ascending order: from, to, from, to … */
  runs: number[];
  /** Timestamps of the neighbouring messages, RFC 3339: the missing messages were created in between. */
  readonly from: string;
  readonly to: string;
  /**
   * When the wait for the missing messages began: when the gap was found, or when the camera last reconnected.
   * Milliseconds since 1970.
   */
  waitingSince: number;
  /** The content of the published gap event; undefined while the missing messages may still arrive. */
  reported: GapCounts | undefined;
}

/** The number of missing messages, and the first and last missing number. */
export interface GapCounts {
  count: number;
  first: number;
  last: number;
}

export interface SequencedMessage {
  seq: number;
  /** By the sender's clock, RFC 3339. */
  timestamp: string;
  historical: boolean;
  /** Milliseconds since 1970. */
  acceptedAt: number;
}

export interface GapLimits {
  /** A gap is reported when no backlog message has arrived for this long, milliseconds. */
  settleMs: number;
  /** A gap is reported after this time in any case, milliseconds. Default 3,600,000. */
  maxWaitMs: number;
  /**
   * The most open gaps of one camera. If there are more, the camera's sequence numbers are not consecutive, and its
   * gaps are not watched. Default 32.
   */
  maxGaps: number;
}

export const DEFAULT_GAP_LIMITS: GapLimits = { ...CAMERA_DEFAULTS.linkGaps, maxWaitMs: 3_600_000, maxGaps: 32 };

/**
 * A new outbox starts at 1 and has at most this many messages in flight, so its first message to arrive has at most
 * this number.
 */
const FIRST_NUMBERS = 16;
/**
 * The most ranges of one gap. Above this number, the oldest range is regarded as arrived, so that no message that may
 * have arrived is reported as missing.
 */
const MAX_RUNS = 32;

/** A tracker's state, which is kept across restarts. */
export interface SavedSequence {
  max: number;
  timestamp: string;
  historicalAt: number;
  isUntrackable: boolean;
  gaps: readonly SequenceGap[];
}

/** `missing`: report the gap. `filled`: all messages of a reported gap have arrived. */
export type GapChange = { type: "missing" | "filled"; gap: SequenceGap };

/**
 * Tracks the sequence numbers of one camera's messages. The messages may arrive out of order: after a broken link,
 * messages that were in flight are sent again together with new ones. So a missing number is reported only when no
 * backlog is expected.
 *
 * ```
 *   a number is skipped ─▶ open ── settleMs quiet, or maxWaitMs ─▶ reported ── all arrived ─▶ filled, reported again
 *                          │  ▲ └────────── all arrived ─▶ dropped, not reported
 *                          └──┘ the camera reconnects: the wait restarts, because it sends new messages before its backlog
 * ```
 *
 * Only the camera's own messages advance the tracker: a silent camera may still send the missing messages.
 */
export class SequenceTracker {
  readonly #limits: GapLimits;
  /** The highest number; 0 before the first message. Numbers below the first message are unknown. */
  #max = 0;
  /** The timestamp of the message with the highest number. */
  #timestamp = "";
  /** When the last backlog message arrived. */
  #historicalAt = 0;
  #isUntrackable = false;
  #gaps: SequenceGap[] = [];

  constructor(limits: GapLimits, saved?: SavedSequence) {
    this.#limits = limits;
    if (saved === undefined) return;
    this.#max = saved.max;
    this.#timestamp = saved.timestamp;
    this.#historicalAt = saved.historicalAt;
    this.#isUntrackable = saved.isUntrackable;
    this.#gaps = saved.gaps.map((gap) => ({ ...gap, runs: [...gap.runs] }));
  }

  get saved(): SavedSequence {
    return {
      max: this.#max,
      timestamp: this.#timestamp,
      historicalAt: this.#historicalAt,
      isUntrackable: this.#isUntrackable,
      gaps: this.#gaps,
    };
  }

  /** True for a sender whose numbers are not consecutive: its gaps are not reported. */
  get isUntrackable(): boolean {
    return this.#isUntrackable;
  }

  /**
   * @param seesAll false if messages on other channels were not seen, so that a skipped number is not a gap
   * @returns changes to publish now; a `missing` gap is returned again until {@link markReported} is called
   */
  add(message: SequencedMessage, seesAll = true): GapChange[] {
    if (this.#isUntrackable) return [];
    const changes: GapChange[] = [];
    if (message.historical) this.#historicalAt = message.acceptedAt;
    const { seq } = message;
    if (this.#max === 0) this.#begin(message);
    else if (seq > this.#max) this.#advance(message, seesAll);
    else {
      const gap = this.#gaps.find(({ first, last }) => first <= seq && seq <= last);
      if (gap === undefined || !remove(gap.runs, seq)) {
        // An outbox uses each number once, so this is a new outbox. The remaining messages of the old outbox will not
        // arrive.
        if (seq <= FIRST_NUMBERS) changes.push(...this.#startOver(message));
      } else if (gap.runs.length === 0) {
        this.#gaps = this.#gaps.filter((other) => other !== gap);
        if (gap.reported !== undefined) changes.push({ type: "filled", gap });
      }
    }
    for (const gap of this.#gaps)
      if (gap.reported === undefined && this.#isSettled(gap, message)) changes.push({ type: "missing", gap });
    return changes;
  }

  /**
   * The camera has reconnected, or may have reconnected while no watcher ran, so it may still send the missing
   * messages.
   */
  restartWait(at: number): void {
    for (const gap of this.#gaps) gap.waitingSince = Math.max(gap.waitingSince, at);
  }

  markReported(gap: SequenceGap, counts: GapCounts): void {
    gap.reported = counts;
  }

  #begin({ seq, timestamp }: SequencedMessage): void {
    this.#max = seq;
    this.#timestamp = timestamp;
  }

  #advance({ seq, timestamp, acceptedAt }: SequencedMessage, seesAll: boolean): void {
    const first = this.#max + 1;
    const before = this.#timestamp;
    this.#max = seq;
    this.#timestamp = timestamp;
    if (seq === first || !seesAll) return;
    const [from, to] = Date.parse(before) < Date.parse(timestamp) ? [before, timestamp] : [timestamp, before];
    const runs = [first, seq - 1];
    this.#gaps.push({ first, last: seq - 1, runs, from, to, waitingSince: acceptedAt, reported: undefined });
    if (this.#gaps.length <= this.#limits.maxGaps) return;
    // The oldest reported gap is dropped first. If that gap is filled later, this is not reported.
    const old = this.#gaps.find(({ reported }) => reported !== undefined);
    this.#isUntrackable = old === undefined;
    this.#gaps = this.#isUntrackable ? [] : this.#gaps.filter((gap) => gap !== old);
  }

  #startOver(message: SequencedMessage): GapChange[] {
    const lost = this.#gaps.filter(({ reported }) => reported === undefined);
    this.#gaps = [];
    this.#begin(message);
    const { seq, timestamp, acceptedAt: waitingSince } = message;
    if (seq > 1) {
      // The new outbox started at 1, so the lower numbers are still in flight. When they arrive, they are not regarded
      // as another new outbox.
      const gap = { first: 1, last: seq - 1, runs: [1, seq - 1], from: timestamp, to: timestamp };
      this.#gaps.push({ ...gap, waitingSince, reported: undefined });
    }
    return lost.map((gap) => ({ type: "missing", gap }));
  }

  #isSettled({ waitingSince }: SequenceGap, { acceptedAt }: SequencedMessage): boolean {
    const { settleMs, maxWaitMs } = this.#limits;
    const waitedMs = acceptedAt - waitingSince;
    return waitedMs >= maxWaitMs || (waitedMs >= settleMs && acceptedAt - this.#historicalAt >= settleMs);
  }
}

/** How many numbers the ranges contain. */
export function countOf(runs: readonly number[]): number {
  let count = 0;
  for (let index = 0; index < runs.length; index += 2) count += (runs[index + 1] ?? 0) - (runs[index] ?? 0) + 1;
  return count;
}

/** @returns false when no range contains the number */
function remove(runs: number[], seq: number): boolean {
  for (let index = 0; index < runs.length; index += 2) {
    const [from, to] = [runs[index] ?? 0, runs[index + 1] ?? 0];
    if (seq < from || seq > to) continue;
    if (from === to) runs.splice(index, 2);
    else if (seq === from) runs[index] = seq + 1;
    else if (seq === to) runs[index + 1] = seq - 1;
    else runs.splice(index, 2, from, seq - 1, seq + 1, to);
    if (runs.length > 2 * MAX_RUNS) runs.splice(0, 2);
    return true;
  }
  return false;
}
