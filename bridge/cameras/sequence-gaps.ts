import { CAMERA_DEFAULTS } from "./config.ts";

/** Messages that are missing between two that arrived. */
export interface SequenceGap {
  /** The first and the last number that were missing when the gap was found. */
  readonly first: number;
  readonly last: number;
  /** The numbers that are still missing, as inclusive ranges in ascending order: from, to, from, to … */
  runs: number[];
  /** Timestamps of the neighbouring messages, RFC 3339: the missing messages were created in between. */
  readonly from: string;
  readonly to: string;
  /** When the wait began: when the gap was found, or when the camera last reconnected. Milliseconds since 1970. */
  waitingSince: number;
  /** The content of the published gap event; undefined while the missing messages may still arrive. */
  reported: GapCounts | undefined;
}

interface GapCounts {
  count: number;
  first: number;
  last: number;
}

interface SequencedMessage {
  seq: number;
  /** By the sender's clock, RFC 3339. */
  timestamp: string;
  historical: boolean;
  acceptedAt: number;
}

export interface GapLimits {
  /** A gap is reported when no backlog message has arrived for this long, milliseconds. */
  settleMs: number;
  /** A gap is reported after this time at the latest, milliseconds. Default 3,600,000. */
  maxWaitMs: number;
  /**
   * The largest number of open gaps of a camera. If a camera has more, its numbers are not consecutive, so its gaps are
   * not reported. Default 32.
   */
  maxGaps: number;
}

export const DEFAULT_GAP_LIMITS: GapLimits = { ...CAMERA_DEFAULTS.linkGaps, maxWaitMs: 3_600_000, maxGaps: 32 };

/**
 * A new outbox starts at 1 with at most this many messages in flight. So the first message to arrive has a number up to
 * this one.
 */
const FIRST_NUMBERS = 16;
/** The most ranges of one gap. Further ranges replace the oldest: no arrived message must be reported as missing. */
const MAX_RUNS = 32;

/** A tracker's state, which is kept across restarts. */
interface SavedSequence {
  /** The highest number; 0 before the first message. Numbers below the first message are unknown. */
  max: number;
  /** The timestamp of the message with the highest number. */
  timestamp: string;
  /** When the last backlog message arrived. */
  historicalAt: number;
  /** The sender's numbers are not consecutive: its gaps are not reported. */
  isUntrackable: boolean;
  gaps: SequenceGap[];
}

/** `missing`: report the gap. `filled`: all messages of a reported gap have arrived. */
export type GapChange = { type: "missing" | "filled"; gap: SequenceGap };

/**
 * Tracks the sequence numbers of one camera's messages, which may arrive out of order: after a broken link, messages in
 * flight are sent again together with new ones. So a missing number is reported only when no backlog is expected.
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
  readonly #state: SavedSequence;
  /** Messages before the next one may have arrived unseen, so a skipped number is not a gap. */
  #hasMissed = false;

  constructor(limits: GapLimits, saved?: SavedSequence) {
    this.#limits = limits;
    const { gaps, ...rest } = saved ?? { max: 0, timestamp: "", historicalAt: 0, isUntrackable: false, gaps: [] };
    this.#state = { ...rest, gaps: gaps.map((gap) => ({ ...gap, runs: [...gap.runs] })) };
  }

  get saved(): SavedSequence {
    return { ...this.#state };
  }

  get isUntrackable(): boolean {
    return this.#state.isUntrackable;
  }

  /** @returns changes to publish now; a `missing` gap is returned again until its `reported` is set */
  add(message: SequencedMessage): GapChange[] {
    const state = this.#state;
    if (state.isUntrackable) return [];
    const changes: GapChange[] = [];
    if (message.historical) state.historicalAt = message.acceptedAt;
    const { seq } = message;
    if (state.max === 0) this.#begin(message);
    else if (seq > state.max) this.#advance(message);
    else {
      const gap = state.gaps.find(({ first, last }) => first <= seq && seq <= last);
      if (gap === undefined || !remove(gap.runs, seq)) {
        // An outbox uses each number once, so this outbox is new. The rest of the old outbox will not arrive.
        if (seq <= FIRST_NUMBERS) changes.push(...this.#startOver(message));
      } else if (gap.runs.length === 0) {
        state.gaps = state.gaps.filter((other) => other !== gap);
        if (gap.reported !== undefined) changes.push({ type: "filled", gap });
      }
    }
    for (const gap of state.gaps)
      if (gap.reported === undefined && this.#isSettled(gap, message)) changes.push({ type: "missing", gap });
    return changes;
  }

  /** The camera has reconnected, or may have done so, and may still send the missing messages. */
  restartWait(at: number): void {
    for (const gap of this.#state.gaps) gap.waitingSince = Math.max(gap.waitingSince, at);
  }

  /** Messages have arrived that were not added. */
  missed(): void {
    this.#hasMissed = true;
  }

  /** An open gap between the messages of these times has been reported already. */
  noteReported({ from, to }: Pick<SequenceGap, "from" | "to">, counts: GapCounts): void {
    const gap = this.#state.gaps.find((open) => open.from === from && open.to === to);
    if (gap !== undefined && gap.first <= counts.first && counts.last <= gap.last) gap.reported ??= counts;
  }

  #begin({ seq, timestamp }: SequencedMessage): void {
    this.#state.max = seq;
    this.#state.timestamp = timestamp;
    this.#hasMissed = false;
  }

  #advance(message: SequencedMessage): void {
    const { seq, timestamp, acceptedAt } = message;
    const state = this.#state;
    const first = state.max + 1;
    const before = state.timestamp;
    const isSeen = !this.#hasMissed;
    this.#begin(message);
    if (seq === first || !isSeen) return;
    const [from, to] = Date.parse(before) < Date.parse(timestamp) ? [before, timestamp] : [timestamp, before];
    const runs = [first, seq - 1];
    state.gaps.push({ first, last: seq - 1, runs, from, to, waitingSince: acceptedAt, reported: undefined });
    if (state.gaps.length <= this.#limits.maxGaps) return;
    // The oldest reported gap is dropped first. If that gap is filled later, this is not reported.
    const old = state.gaps.find(({ reported }) => reported !== undefined);
    state.isUntrackable = old === undefined;
    state.gaps = state.isUntrackable ? [] : state.gaps.filter((gap) => gap !== old);
  }

  #startOver(message: SequencedMessage): GapChange[] {
    const lost = this.#state.gaps.filter(({ reported }) => reported === undefined);
    this.#state.gaps = [];
    this.#begin(message);
    const { seq, timestamp, acceptedAt: waitingSince } = message;
    if (seq > 1) {
      // The new outbox started at 1, so messages with lower numbers are in flight. They are recorded as a gap, so that
      // their arrival does not look like another new outbox.
      const gap = { first: 1, last: seq - 1, runs: [1, seq - 1], from: timestamp, to: timestamp };
      this.#state.gaps.push({ ...gap, waitingSince, reported: undefined });
    }
    return lost.map((gap) => ({ type: "missing", gap }));
  }

  #isSettled({ waitingSince }: SequenceGap, { acceptedAt }: SequencedMessage): boolean {
    const { settleMs, maxWaitMs } = this.#limits;
    const waitedMs = acceptedAt - waitingSince;
    return waitedMs >= maxWaitMs || (waitedMs >= settleMs && acceptedAt - this.#state.historicalAt >= settleMs);
  }
}

/** How many numbers the ranges contain. */
export function countOf(runs: readonly number[]): number {
  let count = 0;
  for (let index = 0; index < runs.length; index += 2) count += (runs[index + 1] ?? 0) - (runs[index] ?? 0) + 1;
  return count;
}

/** @returns whether a range contained the number */
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
