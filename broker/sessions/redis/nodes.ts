import type { Logger } from "pino";
import { KEY } from "./keys.ts";
import type { RedisWriter } from "./writer.ts";

/** How often a node says that it lives; more often when its heart beats faster. */
const RENEWAL_MS = 5_000;
/** How long that is believed: three times as long, but no less than connecting to Redis anew may take. */
const MIN_LIFE_MS = 3_000;
/** A pause of this part of a life is none in which others can have missed theirs: a busy machine makes such pauses. */
const SHORT_PAUSE = 1 / 3;

interface NodesOptions {
  writer: RedisWriter;
  /** Aedes' heartbeat. */
  heartbeatMs: number;
  logger: Logger;
}

/**
 * Which runs of nodes are alive. Aedes counts heartbeats that come as messages, and takes every other node for dead
 * when Redis was away for a while: it would publish the wills of clients that are connected there.
 */
export class Nodes {
  readonly #options: NodesOptions;
  #alive: ReadonlySet<string> = new Set();
  /** Since when this node has heard from Redis without a pause. */
  #hearingSince = Number.POSITIVE_INFINITY;
  #heardAt = Number.NEGATIVE_INFINITY;
  #renewing = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: NodesOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#renew();
    this.#timer = setInterval(() => {
      this.#renew().catch((error: unknown) =>
        this.#options.logger.debug({ err: error }, "a sign of life was not given"),
      );
    }, this.#renewalMs).unref();
  }

  /**
   * The node has ended, or died, for certain: it gave no sign of life all the time in which it could have. After Redis
   * was away every node is given that time anew.
   */
  isGone(brokerId: string): boolean {
    return !this.#alive.has(brokerId) && performance.now() - this.#hearingSince > this.#lifeMs;
  }

  /** Others need not wait until this node is not believed any more. */
  async leave(): Promise<void> {
    this.close();
    await this.#options.writer.run(() => ({ keys: [KEY.nodes], args: ["E"] }));
  }

  close(): void {
    clearInterval(this.#timer);
  }

  get #renewalMs(): number {
    return Math.min(RENEWAL_MS, this.#options.heartbeatMs / 3);
  }

  get #lifeMs(): number {
    return Math.max(MIN_LIFE_MS, 3 * this.#renewalMs);
  }

  async #renew(): Promise<void> {
    // The last one still waits for Redis.
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      await this.#giveSign();
    } finally {
      this.#renewing = false;
    }
  }

  async #giveSign(): Promise<void> {
    const args = ["N", String(this.#lifeMs)];
    this.#alive = new Set(await this.#options.writer.run(() => ({ keys: [KEY.nodes], args })));
    const now = performance.now();
    if (now - this.#heardAt > Math.max(2 * this.#renewalMs, SHORT_PAUSE * this.#lifeMs)) this.#hearingSince = now;
    this.#heardAt = now;
  }
}
