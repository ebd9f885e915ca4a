/** Under way at a new link, before anything is known of it: a second of the slowest link that is bearable. */
const START_BYTES = 2048;
/** A picture that goes out before anything is known of the link. */
const START_PICTURE_BYTES = 8192;
/** Seconds of the link's time that what nobody waits for may take up: what is new waits behind it no longer. */
const BACKLOG_S = 0.5;
/** And what is new itself: behind it may come a farewell. */
const FRESH_S = 1;
/** The longest that one picture may take, seconds, and bytes that it may have however slow the link is. */
const PICTURE_S = 1;
const PICTURE_MIN_BYTES = 2048;
/** An acknowledgement is late by some milliseconds for other reasons than the link: the server writes to its disk. */
const NOISE_MS = 30;
/** Bytes that have to be ahead of a message for its lateness to mean anything, and for it to mean all that it can. */
const MIN_AHEAD_BYTES = 256;
const TELLING_BYTES = 2048;
/** How long the quickest acknowledgement is the measure: links change their way. */
const BASE_MS = 10_000;

/** A message under way. */
export interface Flight {
  readonly bytes: number;
  /** Under way when it was sent, itself included. */
  readonly ahead: number;
  readonly sentAt: number;
}

/** What an acknowledgement takes when next to nothing is under way. */
interface Base {
  ms: number;
  ahead: number;
}

const NO_BASE: Readonly<Base> = { ms: Number.POSITIVE_INFINITY, ahead: Number.POSITIVE_INFINITY };

/**
 * Keeps the queues on the way to the broker short. A socket takes megabytes at once, and a modem tens of seconds of what
 * its link can carry; whatever is sent then comes after all of it. So the speed is worked out from how much later
 * acknowledgements come when more is ahead, and no more is under way than so many seconds' worth.
 */
export class CongestionControl {
  readonly #now: () => number;
  #underWay = 0;
  #bytesPerS: number | undefined;
  #since: number;
  #base: Base = { ...NO_BASE };
  /** Of the ten seconds before those of `base`. */
  #before: Base = NO_BASE;

  /** @param now milliseconds. Default: a clock that nobody sets */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#since = now();
  }

  /** Bytes a second; undefined while nothing was measured. */
  get bytesPerS(): number | undefined {
    return this.#bytesPerS;
  }

  /** The largest picture that may be sent. */
  get pictureBytes(): number {
    if (this.#bytesPerS === undefined) return START_PICTURE_BYTES;
    return Math.max(PICTURE_MIN_BYTES, this.#bytesPerS * PICTURE_S);
  }

  /** Whether a message may go now. With nothing under way any may, or a large one never could. */
  allows(bytes: number, { backlog }: { backlog: boolean }): boolean {
    if (this.#underWay === 0) return true;
    const allowance = (this.#bytesPerS ?? START_BYTES) * (backlog ? BACKLOG_S : FRESH_S);
    return this.#underWay + bytes <= Math.max(START_BYTES / 4, allowance);
  }

  sent(bytes: number): Flight {
    this.#underWay += bytes;
    return { bytes, ahead: this.#underWay, sentAt: this.#now() };
  }

  acknowledged({ bytes, ahead, sentAt }: Flight): void {
    this.#underWay -= bytes;
    const tookMs = this.#now() - sentAt;
    const base = this.#baseWith(tookMs, ahead);
    const moreAhead = ahead - base.ahead;
    if (moreAhead < MIN_AHEAD_BYTES) return;
    const measured = (moreAhead / Math.max(NOISE_MS, tookMs - base.ms)) * 1000;
    // By their ratio: a link may become a thousand times slower from one moment to the next.
    const weight = this.#bytesPerS === undefined ? 1 : 0.5 * Math.min(1, moreAhead / TELLING_BYTES);
    this.#bytesPerS = (this.#bytesPerS ?? 1) ** (1 - weight) * measured ** weight;
  }

  /** It was not sent after all. */
  givenUp({ bytes }: Flight): void {
    this.#underWay -= bytes;
  }

  /** The least of the last ten to twenty seconds, this one included. */
  #baseWith(tookMs: number, ahead: number): Base {
    const now = this.#now();
    if (now - this.#since > BASE_MS) {
      this.#since = now;
      this.#before = this.#base;
      this.#base = { ...NO_BASE };
    }
    this.#base.ms = Math.min(this.#base.ms, tookMs);
    this.#base.ahead = Math.min(this.#base.ahead, ahead);
    return { ms: Math.min(this.#base.ms, this.#before.ms), ahead: Math.min(this.#base.ahead, this.#before.ahead) };
  }
}
