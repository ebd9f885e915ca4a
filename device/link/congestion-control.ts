/** Bytes in flight on a new link, before its speed is known: one second of the slowest acceptable link. */
const START_BYTES = 2048;
/** The largest preview sent before the link's speed is known. */
const START_PREVIEW_BYTES = 8192;
/** Seconds of transfer that the backlog in flight may take: new messages wait behind it no longer than this. */
const BACKLOG_S = 0.5;
/** Seconds of transfer that new messages in flight may take: a farewell may have to wait behind them. */
const FRESH_S = 1;
/** Seconds that the transfer of one preview may take, and the size that a preview may have on any link. */
const PREVIEW_S = 1;
const MIN_PREVIEW_BYTES = 2048;
/** The time of acknowledgements varies by this much for reasons other than the link, such as the server's disk. */
const NOISE_MS = 30;
/** Bytes ahead of a message: from the first number on its delay is measured, from the second on with full weight. */
const MIN_AHEAD_BYTES = 256;
const FULL_WEIGHT_BYTES = 2048;
/** How long the fastest acknowledgement is the baseline; limited, because the route of a link changes. */
const BASELINE_MS = 10_000;

/** A message in flight. */
export interface Flight {
  readonly bytes: number;
  /** Bytes in flight when the message was sent, including its own. */
  readonly ahead: number;
  readonly sentAt: number;
}

/** The time of an acknowledgement when almost nothing else is in flight. */
interface Baseline {
  ms: number;
  ahead: number;
}

const NO_BASELINE: Readonly<Baseline> = { ms: Number.POSITIVE_INFINITY, ahead: Number.POSITIVE_INFINITY };

/**
 * Keeps the queues between camera and broker short. A socket accepts megabytes at once, and a modem buffers tens of
 * seconds of what its link can carry: a message that is sent later arrives after all of that. So the speed is estimated
 * from how much longer acknowledgements take when more bytes are ahead, and only bytes for a second are in flight.
 */
export class CongestionControl {
  readonly #now: () => number;
  #inFlight = 0;
  /** The estimated speed; undefined before the first measurement. */
  #bytesPerS: number | undefined;
  #baselineSince: number;
  #baseline: Baseline = { ...NO_BASELINE };
  /** The baseline of the previous ten seconds. */
  #previousBaseline: Baseline = NO_BASELINE;

  /** @param now a monotonic clock, milliseconds. Default: `performance.now()` */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#baselineSince = now();
  }

  /** The largest preview that may be sent now. */
  get maxPreviewBytes(): number {
    if (this.#bytesPerS === undefined) return START_PREVIEW_BYTES;
    return Math.max(MIN_PREVIEW_BYTES, this.#bytesPerS * PREVIEW_S);
  }

  /** Whether a message may be sent now. If nothing is in flight, any message may: a large one would never be sent otherwise. */
  allows(bytes: number, { backlog }: { backlog: boolean }): boolean {
    if (this.#inFlight === 0) return true;
    const allowance = (this.#bytesPerS ?? START_BYTES) * (backlog ? BACKLOG_S : FRESH_S);
    return this.#inFlight + bytes <= Math.max(START_BYTES / 4, allowance);
  }

  sent(bytes: number): Flight {
    this.#inFlight += bytes;
    return { bytes, ahead: this.#inFlight, sentAt: this.#now() };
  }

  acknowledged({ bytes, ahead, sentAt }: Flight): void {
    this.#inFlight -= bytes;
    const tookMs = this.#now() - sentAt;
    const baseline = this.#updatedBaseline(tookMs, ahead);
    const moreAhead = ahead - baseline.ahead;
    if (moreAhead < MIN_AHEAD_BYTES) return;
    const measured = (moreAhead / Math.max(NOISE_MS, tookMs - baseline.ms)) * 1000;
    // A geometric mean: a link may become a thousand times slower from one moment to the next.
    const weight = this.#bytesPerS === undefined ? 1 : 0.5 * Math.min(1, moreAhead / FULL_WEIGHT_BYTES);
    this.#bytesPerS = (this.#bytesPerS ?? 1) ** (1 - weight) * measured ** weight;
  }

  /** The message was not sent after all. */
  cancelled({ bytes }: Flight): void {
    this.#inFlight -= bytes;
  }

  /** The lowest values of the last ten to twenty seconds, including these. */
  #updatedBaseline(tookMs: number, ahead: number): Baseline {
    const now = this.#now();
    if (now - this.#baselineSince > BASELINE_MS) {
      this.#baselineSince = now;
      this.#previousBaseline = this.#baseline;
      this.#baseline = { ...NO_BASELINE };
    }
    this.#baseline.ms = Math.min(this.#baseline.ms, tookMs);
    this.#baseline.ahead = Math.min(this.#baseline.ahead, ahead);
    return {
      ms: Math.min(this.#baseline.ms, this.#previousBaseline.ms),
      ahead: Math.min(this.#baseline.ahead, this.#previousBaseline.ahead),
    };
  }
}
