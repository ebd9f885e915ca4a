/** Seconds of a rate that a rested sender may have beyond it: a camera that was away has something to say. */
const BURST_SECONDS = 2;
/** How many times its rate a sender is read at while it has a burst: 4,000 packets in one go held the event loop for 380 ms. */
const PEAK_FACTOR = 2;
/** Packets and bytes that are read in one go; of bytes so much as the largest message has by default. */
const PEAK_MESSAGES = 32;
const PEAK_BYTES = 262_144;
/** A sender beyond its rate is read from a hundred times a second: a thousand times cost more than what was read. */
const MIN_WAIT_MS = 10;

/** `Infinity` is no limit. */
export interface RateLimits {
  /** Packets a second that ask something of the broker; each filter of a SUBSCRIBE or UNSUBSCRIBE counts. */
  messagesPerSecond: number;
  /** Bytes a second, of packets received and of retained messages sent for a subscription. */
  bytesPerSecond: number;
  /** Payload bytes that were read and are neither durable nor refused yet. */
  pendingBytes: number;
}

/**
 * What one identity may ask for, over all of its connections to this node. Beyond it nothing is refused and nothing is lost:
 * the broker reads from the identity's connections more slowly, and TCP holds the sender back.
 */
export class RateLimiter {
  readonly #messages: Allowance;
  readonly #bytes: Allowance;
  readonly #maxPendingBytes: number;
  #pendingBytes = 0;
  /** Connections that want to read, the first come first. */
  #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isReleasing = false;

  constructor({ messagesPerSecond, bytesPerSecond, pendingBytes }: RateLimits) {
    this.#messages = new Allowance(messagesPerSecond, PEAK_MESSAGES);
    this.#bytes = new Allowance(bytesPerSecond, PEAK_BYTES);
    this.#maxPendingBytes = pendingBytes;
  }

  /** Whether the identity may be read from now. */
  get isOpen(): boolean {
    return this.#messages.isOpen && this.#bytes.isOpen && this.#pendingBytes < this.#maxPendingBytes;
  }

  /** Whether nothing is owed: another pace in its place would allow no more. */
  get isRested(): boolean {
    this.#refill();
    return this.#messages.isFull && this.#bytes.isFull && this.#pendingBytes === 0 && this.#waiting.length === 0;
  }

  /** May be more than is left; the rest is owed. */
  spend(messages: number, bytes: number): void {
    this.#messages.spend(messages);
    this.#bytes.spend(bytes);
  }

  /** So much is on its way into the store, until {@link settled}. */
  pending(bytes: number): void {
    this.#pendingBytes += bytes;
  }

  settled(bytes: number): void {
    this.#pendingBytes -= bytes;
    if (this.#waiting.length > 0) this.#release();
  }

  /** @returns true when it is open, after the time that passed was credited; else `resume` is called when it is */
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
    // Each reads, and so spends, before the next is asked. One that must wait again queues up behind the others.
    for (let turns = this.#waiting.length; turns > 0 && this.isOpen; turns--) this.#waiting.shift()?.();
    this.#isReleasing = false;
    if (this.#waiting.length > 0) this.#wake();
  }

  /** Releases when the rates allow it. With nothing to wait for but the store, {@link settled} does. */
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

/** Two token buckets: what is allowed in the long run with its burst, and what of that is allowed in a moment. */
class Allowance {
  readonly #sustained: Bucket;
  readonly #peak: Bucket;
  #at = performance.now();

  constructor(perSecond: number, atOnce: number) {
    this.#sustained = new Bucket(perSecond, BURST_SECONDS * perSecond);
    this.#peak = new Bucket(PEAK_FACTOR * perSecond, atOnce);
  }

  get isOpen(): boolean {
    return this.#sustained.left > 0 && this.#peak.left > 0;
  }

  get isFull(): boolean {
    return this.#sustained.isFull && this.#peak.isFull;
  }

  /** Until something is left, milliseconds. */
  get waitMs(): number {
    return Math.max(this.#sustained.waitMs, this.#peak.waitMs);
  }

  spend(count: number): void {
    this.#sustained.spend(count);
    this.#peak.spend(count);
  }

  refill(now: number): void {
    const elapsedMs = now - this.#at;
    this.#at = now;
    this.#sustained.refill(elapsedMs);
    this.#peak.refill(elapsedMs);
  }
}

class Bucket {
  readonly #perSecond: number;
  readonly #size: number;
  left: number;

  constructor(perSecond: number, size: number) {
    this.#perSecond = perSecond;
    this.#size = perSecond === Number.POSITIVE_INFINITY ? perSecond : size;
    this.left = this.#size;
  }

  get isFull(): boolean {
    return this.left >= this.#size;
  }

  get waitMs(): number {
    return this.left > 0 ? 0 : ((1 - this.left) * 1000) / this.#perSecond;
  }

  /** May be more than is left; the rest is owed. */
  spend(count: number): void {
    this.left -= count;
  }

  refill(elapsedMs: number): void {
    if (this.#perSecond === Number.POSITIVE_INFINITY) return;
    this.left = Math.min(this.#size, this.left + (elapsedMs * this.#perSecond) / 1000);
  }
}
