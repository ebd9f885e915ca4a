/** Messages between two that arrived. */
export interface NumberGap {
  /** The numbers, inclusive, and what of them is still missing: ascending from, to, from, to … */
  readonly first: number;
  readonly last: number;
  runs: number[];
  /** When its neighbours happened, RFC 3339: what is missing happened in between. */
  readonly from: string;
  readonly to: string;
  /** Since when it is waited for, milliseconds since 1970: since it was noticed, or the camera came back after that. */
  waitingSince: number;
  /** What was said of it; undefined while it may still be filled unsaid. */
  said: { count: number; first: number; last: number } | undefined;
}

export interface Numbered {
  seq: number;
  /** As its sender gave it. */
  timestamp: string;
  historical: boolean;
  /** Milliseconds since 1970. */
  acceptedAt: number;
}

export interface GapLimits {
  /** How long what is missing may take while nothing of a backlog arrives, milliseconds. Default 120,000. */
  settleMs: number;
  /** How long it may take in any case, milliseconds. Default 3,600,000. */
  maxWaitMs: number;
  /** Gaps that one camera may have open; one that exceeds it does not count its messages one by one. Default 32. */
  maxGaps: number;
}

export const DEFAULT_GAP_LIMITS: GapLimits = { settleMs: 120_000, maxWaitMs: 3_600_000, maxGaps: 32 };

/** A new outbox begins with 1, and has at most so many messages on the way at once. */
const FIRST_NUMBERS = 16;
/** Runs that a gap may fall into; beyond, the oldest count as arrived, for nothing is called missing that is not. */
const MAX_RUNS = 32;

/** What is kept of a camera over restarts. */
export interface SavedNumbers {
  max: number;
  timestamp: string;
  historicalAt: number;
  countless: boolean;
  gaps: readonly NumberGap[];
}

export type GapNews = { type: "missing"; gap: NumberGap } | { type: "filled"; gap: NumberGap };

/**
 * The numbers of one camera's messages. They come out of order: after a link was lost, what was in flight is sent again
 * beside what is new. So a hole is no loss at once, but only when nothing more is to be expected of a backlog.
 *
 * ```
 *   a number is skipped ─▶ open ── settleMs quiet, or maxWaitMs ─▶ said ── all arrived ─▶ filled, said again
 *                          │  ▲ └────────── all arrived ─▶ forgotten, nothing is said
 *                          └──┘ the camera comes back: the wait begins anew, for it sends its present before its backlog
 * ```
 *
 * It moves with the camera's own messages alone: from a camera that says nothing, the missing ones may still come.
 */
export class CameraNumbers {
  readonly #limits: GapLimits;
  /** 0 until there is one. What was before the first one seen, is not known. */
  #max = 0;
  /** Of the message with the highest number. */
  #timestamp = "";
  #historicalAt = 0;
  #countless = false;
  #gaps: NumberGap[] = [];

  constructor(limits: GapLimits, saved?: SavedNumbers) {
    this.#limits = limits;
    if (saved === undefined) return;
    this.#max = saved.max;
    this.#timestamp = saved.timestamp;
    this.#historicalAt = saved.historicalAt;
    this.#countless = saved.countless;
    this.#gaps = saved.gaps.map((gap) => ({ ...gap, runs: [...gap.runs] }));
  }

  get saved(): SavedNumbers {
    return {
      max: this.#max,
      timestamp: this.#timestamp,
      historicalAt: this.#historicalAt,
      countless: this.#countless,
      gaps: this.#gaps,
    };
  }

  /** True for a sender whose numbers are no count: nothing is said of it. */
  get countless(): boolean {
    return this.#countless;
  }

  /**
   * @param sure false when the messages of other kinds around it were not seen: a hole then means nothing
   * @returns what is to be said now; a gap that is missing is to be said until {@link said}
   */
  take(message: Numbered, sure = true): GapNews[] {
    if (this.#countless) return [];
    const news: GapNews[] = [];
    if (message.historical) this.#historicalAt = message.acceptedAt;
    const { seq } = message;
    if (this.#max === 0) this.#begin(message);
    else if (seq > this.#max) this.#goOn(message, sure);
    else {
      const gap = this.#gaps.find(({ first, last }) => first <= seq && seq <= last);
      if (gap === undefined || !remove(gap.runs, seq)) {
        // Each number of an outbox is used once, so this is another outbox: of the old one nothing more will come.
        if (seq <= FIRST_NUMBERS) news.push(...this.#startOver(message));
      } else if (gap.runs.length === 0) {
        this.#gaps = this.#gaps.filter((other) => other !== gap);
        if (gap.said !== undefined) news.push({ type: "filled", gap });
      }
    }
    for (const gap of this.#gaps)
      if (gap.said === undefined && this.#isSettled(gap, message)) news.push({ type: "missing", gap });
    return news;
  }

  /** The camera has come back, or may have while nobody looked: what it owes it may still send. */
  waitAnew(at: number): void {
    for (const gap of this.#gaps) gap.waitingSince = Math.max(gap.waitingSince, at);
  }

  /** The gap was said, with these figures. */
  said(gap: NumberGap, figures: NonNullable<NumberGap["said"]>): void {
    gap.said = figures;
  }

  #begin({ seq, timestamp }: Numbered): void {
    this.#max = seq;
    this.#timestamp = timestamp;
  }

  #goOn({ seq, timestamp, acceptedAt }: Numbered, sure: boolean): void {
    const first = this.#max + 1;
    const before = this.#timestamp;
    this.#max = seq;
    this.#timestamp = timestamp;
    if (seq === first || !sure) return;
    const [from, to] = Date.parse(before) < Date.parse(timestamp) ? [before, timestamp] : [timestamp, before];
    const runs = [first, seq - 1];
    this.#gaps.push({ first, last: seq - 1, runs, from, to, waitingSince: acceptedAt, said: undefined });
    if (this.#gaps.length <= this.#limits.maxGaps) return;
    // What was said long ago is the first to be forgotten: should it be filled now, nobody is told.
    const old = this.#gaps.find(({ said }) => said !== undefined);
    this.#countless = old === undefined;
    this.#gaps = this.#countless ? [] : this.#gaps.filter((gap) => gap !== old);
  }

  #startOver(message: Numbered): GapNews[] {
    const lost = this.#gaps.filter(({ said }) => said === undefined);
    this.#gaps = [];
    this.#begin(message);
    const { seq, timestamp, acceptedAt: waitingSince } = message;
    if (seq > 1) {
      // It began with 1, so these are on their way: none of them is yet another outbox.
      const runs = [1, seq - 1];
      this.#gaps.push({ first: 1, last: seq - 1, runs, from: timestamp, to: timestamp, waitingSince, said: undefined });
    }
    return lost.map((gap) => ({ type: "missing", gap }));
  }

  #isSettled({ waitingSince }: NumberGap, { acceptedAt }: Numbered): boolean {
    const { settleMs, maxWaitMs } = this.#limits;
    const waited = acceptedAt - waitingSince;
    return waited >= maxWaitMs || (waited >= settleMs && acceptedAt - this.#historicalAt >= settleMs);
  }
}

/** How many numbers the runs hold. */
export function countOf(runs: readonly number[]): number {
  let count = 0;
  for (let index = 0; index < runs.length; index += 2) count += (runs[index + 1] ?? 0) - (runs[index] ?? 0) + 1;
  return count;
}

/** @returns false when it is in none */
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
