import type { Logger } from "pino";
import { KEY } from "./keys.ts";
import type { RedisWriter } from "./writer.ts";

/** The interval of a node's heartbeat; shorter when `MQTT_HEARTBEAT_MS` is shorter. */
const RENEWAL_MS = 5_000;
/** A heartbeat is valid for three intervals, and at least this long, because reconnecting to Redis may take as long. */
const MIN_LIFE_MS = 3_000;
/** Pauses of up to this fraction of the validity are ignored: a busy machine causes them. */
const SHORT_PAUSE = 1 / 3;

interface NodesOptions {
  writer: RedisWriter;
  heartbeatMs: number;
  logger: Logger;
}

/**
 * Tells which runs of nodes are alive. Aedes' own heartbeat would consider all other nodes dead after an outage of
 * Redis, and publish the wills of their connected clients.
 */
export class Nodes {
  readonly #options: NodesOptions;
  #alive: ReadonlySet<string> = new Set();
  /** The start of the current time in which Redis has answered without a long pause, by `performance.now()`. */
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
        this.#options.logger.debug({ err: error }, "heartbeat could not be written"),
      );
    }, this.#renewalMs).unref();
  }

  /**
   * Whether the node has no valid heartbeat. After an outage of Redis, every node again has the whole lifetime of a
   * heartbeat to send its next one.
   */
  isDead(brokerId: string): boolean {
    return !this.#alive.has(brokerId) && performance.now() - this.#answeringSince > this.#lifeMs;
  }

  /** Ends this node's heartbeat, so that the other nodes need not wait until it expires. */
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
    // The previous heartbeat still waits for Redis.
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      const args = ["N", String(this.#lifeMs)];
      this.#alive = new Set(await this.#options.writer.run(() => ({ keys: [KEY.nodes], args })));
      const now = performance.now();
      const longestPauseMs = Math.max(2 * this.#renewalMs, SHORT_PAUSE * this.#lifeMs);
      if (now - this.#answeredAt > longestPauseMs) this.#answeringSince = now;
      this.#answeredAt = now;
    } finally {
      this.#renewing = false;
    }
  }
}
