/** Bytes in flight before the link's speed is known: one second of the slowest acceptable link. */
const START_BYTES = 2048;
const START_PREVIEW_BYTES = 8192;
/** The backlog in flight may need this many seconds at most, because new messages wait behind it. */
const BACKLOG_S = 0.5;
/** New messages in flight may need this many seconds at most, because a farewell waits behind them. */
const FRESH_S = 1;
/** One preview may need this many seconds at most, but may always have {@link MIN_PREVIEW_BYTES}. */
const PREVIEW_S = 1;
const MIN_PREVIEW_BYTES = 2048;
/** The time of an acknowledgement varies by this much for reasons other than the link, such as the server's disk. */
const NOISE_MS = 30;
/**
 * The delay of a message is ignored if fewer bytes than `MIN_AHEAD_BYTES` were ahead of the message. From
 * `FULL_WEIGHT_BYTES` on, the delay has full weight.
 */
const MIN_AHEAD_BYTES = 256;
const FULL_WEIGHT_BYTES = 2048;
/** How long the fastest acknowledgement remains the baseline. Limited, because the route of a link changes. */
const BASELINE_MS = 10_000;

export interface Flight {
  readonly bytes: number;
  /** Bytes in flight when the message was sent, including its own. */
  readonly ahead: number;
  readonly sentAt: number;
}

/** How long an acknowledgement takes when almost nothing else is in flight. */
interface Baseline {
  ms: number;
  ahead: number;
}

const NO_BASELINE: Readonly<Baseline> = { ms: Number.POSITIVE_INFINITY, ahead: Number.POSITIVE_INFINITY };

/**
 * Keeps the queues between camera and broker short. A socket accepts megabytes, and a modem buffers tens of seconds of
 * traffic: a later message would wait for all of it. The speed is estimated from how much longer an acknowledgement
 * takes when more bytes are ahead of its message. Only as many bytes are in flight as the link transfers in about a
 * second.
 */
export class CongestionControl {
  readonly #now: () => number;
  #inFlight = 0;
  #bytesPerS: number | undefined;
  #baselineSince: number;
  #baseline: Baseline = { ...NO_BASELINE };
  #previousBaseline: Baseline = NO_BASELINE;

  /** @param now monotonic milliseconds. Default: `performance.now()` */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#baselineSince = now();
  }

  get maxPreviewBytes(): number {
    if (this.#bytesPerS === undefined) return START_PREVIEW_BYTES;
    return Math.max(MIN_PREVIEW_BYTES, this.#bytesPerS * PREVIEW_S);
  }

  /** A message may always be sent alone: a large one would otherwise wait for ever. */
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
    // A geometric mean follows a link that suddenly becomes a thousand times slower.
    const weight = this.#bytesPerS === undefined ? 1 : 0.5 * Math.min(1, moreAhead / FULL_WEIGHT_BYTES);
    this.#bytesPerS = (this.#bytesPerS ?? 1) ** (1 - weight) * measured ** weight;
  }

  cancelled({ bytes }: Flight): void {
    this.#inFlight -= bytes;
  }

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
