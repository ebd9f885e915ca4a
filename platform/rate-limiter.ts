import { TokenBucket } from "./token-bucket.ts";

/**
 * After a pause, a sender may send as much in a burst as in this many seconds: a camera that was offline has a backlog.
 */
const BURST_SECONDS = 2;
/** A burst is read at this multiple of the rate: reading 4,000 packets at once blocked the event loop for 380 ms. */
const PEAK_FACTOR = 2;
/** Packets and bytes that are read at once. The bytes equal the default size limit of a message. */
const PEAK_MESSAGES = 32;
const PEAK_BYTES = 262_144;
/** The shortest wait of a throttled sender: a thousand reads a second would cost more than the data itself. */
const MIN_WAIT_MS = 10;

/** `Infinity` means no limit. */
export interface RateLimits {
  /** Packets that need an answer. Each filter of a SUBSCRIBE or UNSUBSCRIBE is a packet. */
  messagesPerSecond: number;
  /** Bytes of received packets, and of retained messages that are sent for a subscription. */
  bytesPerSecond: number;
  /** Payload bytes that are neither durable nor refused yet. */
  pendingBytes: number;
}

/**
 * Limits the rate of one identity over all of its connections to this node. Nothing is refused: the broker reads more
 * slowly, and TCP holds the sender back.
 */
export class RateLimiter {
  readonly #messages: Allowance;
  readonly #bytes: Allowance;
  readonly #maxPendingBytes: number;
  #pendingBytes = 0;
  /** Connections that wait to read, in order of arrival. */
  #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isReleasing = false;

  constructor({ messagesPerSecond, bytesPerSecond, pendingBytes }: RateLimits) {
    this.#messages = new Allowance(messagesPerSecond, PEAK_MESSAGES);
    this.#bytes = new Allowance(bytesPerSecond, PEAK_BYTES);
    this.#maxPendingBytes = pendingBytes;
  }

  get isOpen(): boolean {
    return this.#messages.isOpen && this.#bytes.isOpen && this.#pendingBytes < this.#maxPendingBytes;
  }

  /**
   * Whether this limiter has its full allowance and nothing waits. A new limiter would behave alike, so this one can be
   * dropped.
   */
  get isRested(): boolean {
    this.#refill();
    return this.#messages.isFull && this.#bytes.isFull && this.#pendingBytes === 0 && this.#waiting.length === 0;
  }

  /** Amounts above the remaining allowance delay later reads. */
  spend(messages: number, bytes: number): void {
    this.#messages.spend(messages);
    this.#bytes.spend(bytes);
  }

  /** Counts payload bytes until {@link settled}. */
  pending(bytes: number): void {
    this.#pendingBytes += bytes;
  }

  settled(bytes: number): void {
    this.#pendingBytes -= bytes;
    if (this.#waiting.length > 0) this.#release();
  }

  /** @returns whether the limiter is open; if not, `resume` is called when the limiter opens */
  openOr(resume: () => void): boolean {
    this.#refill();
    if ((this.#waiting.length === 0 || this.#isReleasing) && this.isOpen) return true;
    this.#waiting.push(resume);
    this.#wake();
    return false;
  }

  #refill(): void {
    const now = performance.now();
    this.#messages.refill(now);
    this.#bytes.refill(now);
  }

  #release(): void {
    if (this.#isReleasing) return;
    this.#refill();
    this.#isReleasing = true;
    // A resumed connection reads, and so spends, before the next connection is resumed.
    for (let count = this.#waiting.length; count > 0 && this.isOpen; count--) this.#waiting.shift()?.();
    this.#isReleasing = false;
    if (this.#waiting.length > 0) this.#wake();
  }

  /** Schedules the next release, unless {@link settled} will release the connections. */
  #wake(): void {
    if (this.#timer !== undefined || this.#pendingBytes >= this.#maxPendingBytes) return;
    const waitMs = Math.ceil(Math.max(MIN_WAIT_MS, this.#messages.waitMs, this.#bytes.waitMs));
    const wake = (): void => {
      this.#timer = undefined;
      this.#release();
    };
    this.#timer = setTimeout(wake, waitMs).unref();
  }
}

/** The long-run rate with its burst, and the peak rate at which a burst is read. */
class Allowance {
  readonly #sustained: TokenBucket;
  readonly #peak: TokenBucket;

  constructor(perSecond: number, atOnce: number) {
    this.#sustained = new TokenBucket(perSecond, BURST_SECONDS * perSecond);
    this.#peak = new TokenBucket(PEAK_FACTOR * perSecond, atOnce);
  }

  get isOpen(): boolean {
    return this.#sustained.left > 0 && this.#peak.left > 0;
  }

  get isFull(): boolean {
    return this.#sustained.isFull && this.#peak.isFull;
  }

  get waitMs(): number {
    return Math.max(this.#sustained.waitMs, this.#peak.waitMs);
  }

  spend(count: number): void {
    this.#sustained.spend(count);
    this.#peak.spend(count);
  }

  refill(now: number): void {
    this.#sustained.refill(now);
    this.#peak.refill(now);
  }
}
