import type { Logger } from "pino";
import { KEY } from "./keys.ts";
import type { RedisWriter } from "./writer.ts";

/** Interval at which a node gives a sign of life; shorter when Aedes' heartbeat is shorter. */
const RENEWAL_MS = 5_000;
/**
 * A sign of life is valid for three intervals, and at least this long, because reconnecting to Redis may take as long.
 */
const MIN_LIFE_MS = 3_000;
/**
 * Pauses of up to this fraction of the validity are ignored: a busy machine causes them, and no sign of life of other
 * nodes is lost.
 */
const SHORT_PAUSE = 1 / 3;

interface NodesOptions {
  writer: RedisWriter;
  /** Aedes' heartbeat. */
  heartbeatMs: number;
  logger: Logger;
}

/**
 * Tells which runs of nodes are alive. Aedes counts heartbeat messages, and would consider all other nodes dead after
 * Redis was unavailable for a while: it would publish the wills of clients that are connected to them.
 */
export class Nodes {
  readonly #options: NodesOptions;
  #alive: ReadonlySet<string> = new Set();
  /** Since when Redis has answered this node without a pause. */
  #answeringSince = Number.POSITIVE_INFINITY;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #renewing = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: NodesOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#renew();
    this.#timer = setInterval(() => {
      this.#renew().catch((error: unknown) =>
        this.#options.logger.debug({ err: error }, "sign of life could not be written"),
      );
    }, this.#renewalMs).unref();
  }

  /**
   * Whether the node has certainly ended or died: it gave no valid sign of life while it could have. After Redis was
   * unavailable, every node gets the full time again.
   */
  isDead(brokerId: string): boolean {
    return !this.#alive.has(brokerId) && performance.now() - this.#answeringSince > this.#lifeMs;
  }

  /** Tells the other nodes that this node ends, so that they need not wait for its sign of life to expire. */
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
    // The previous sign of life still waits for Redis.
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      await this.#signOfLife();
    } finally {
      this.#renewing = false;
    }
  }

  async #signOfLife(): Promise<void> {
    const args = ["N", String(this.#lifeMs)];
    this.#alive = new Set(await this.#options.writer.run(() => ({ keys: [KEY.nodes], args })));
    const now = performance.now();
    if (now - this.#answeredAt > Math.max(2 * this.#renewalMs, SHORT_PAUSE * this.#lifeMs)) this.#answeringSince = now;
    this.#answeredAt = now;
  }
}
