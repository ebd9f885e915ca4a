/** The delay of the first ping. A page is busy right after it has connected, which would add to the latency. */
const FIRST_PING_MS = 1000;

interface HeartbeatOptions {
  /**
   * Returns the next request id. Pings and requests share one sequence, so that the id in an error is never ambiguous.
   */
  nextId: () => number;
  sendPing: (id: number) => void;
  onDead: (silentMs: number) => void;
  onLatency: (latencyMs: number) => void;
  /** Milliseconds between two pings of this client, which measure the latency. 0: the client sends no pings. */
  latencyIntervalMs: number;
  /**
   * The connection is dead after a silence of two ping intervals of the server plus this time; also the timeout of a
   * probe.
   */
  graceMs: number;
}

/**
 * Distinguishes a quiet connection from a dead one. A browser does not show WebSocket pings to a page, and may take 15
 * minutes to notice that the server is unreachable. Therefore the server sends `ping` messages. Any message proves that
 * the server is alive.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #heardAt = 0;
  /**
   * Whether a message has arrived since the last probe. Times cannot show this: many messages may arrive in the same
   * millisecond.
   */
  #probeAnswered = false;
  #allowedSilenceMs = Number.POSITIVE_INFINITY;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #probe: ReturnType<typeof setTimeout> | undefined;
  #nextPing: ReturnType<typeof setTimeout> | undefined;
  #pingId = 0;
  #pingSentAt: number | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** When the last message arrived, milliseconds since 1970. 0 before the first message. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** @param serverPingIntervalMs from the server; 0 or less: the server sends no pings, and any silence is allowed */
  start(serverPingIntervalMs: number): void {
    this.stop();
    this.#heardAt = Date.now();
    this.#allowedSilenceMs =
      serverPingIntervalMs > 0 ? 2 * serverPingIntervalMs + this.#options.graceMs : Number.POSITIVE_INFINITY;
    this.#watchSilence();
    this.#measureIn(Math.min(this.#options.latencyIntervalMs, FIRST_PING_MS));
  }

  stop(): void {
    clearTimeout(this.#watch);
    clearTimeout(this.#probe);
    clearTimeout(this.#nextPing);
    this.#probe = undefined;
    this.#pingSentAt = undefined;
  }

  /** Called for every message. Sets no timer, because tens of thousands of messages may arrive in a second. */
  heard(): void {
    this.#heardAt = Date.now();
    this.#probeAnswered = true;
  }

  pong(id: number | string | undefined): void {
    if (id !== this.#pingId || this.#pingSentAt === undefined) return;
    const latencyMs = performance.now() - this.#pingSentAt;
    this.#pingSentAt = undefined;
    this.#options.onLatency(latencyMs);
  }

  /** Verifies the connection now, after the page was suspended or the network changed. */
  probe(): void {
    clearTimeout(this.#probe);
    this.#probeAnswered = false;
    this.#measure();
    this.#probe = setTimeout(() => {
      this.#probe = undefined;
      if (!this.#probeAnswered) this.#options.onDead(Date.now() - this.#heardAt);
    }, this.#options.graceMs);
  }

  #measureIn(delayMs: number): void {
    if (this.#options.latencyIntervalMs <= 0) return;
    this.#nextPing = setTimeout(() => {
      this.#measure();
      this.#measureIn(this.#options.latencyIntervalMs);
    }, delayMs);
  }

  #measure(): void {
    this.#pingId = this.#options.nextId();
    this.#pingSentAt = performance.now();
    this.#options.sendPing(this.#pingId);
  }

  #watchSilence(): void {
    if (!Number.isFinite(this.#allowedSilenceMs)) return;
    const silentMs = Date.now() - this.#heardAt;
    const leftMs = this.#allowedSilenceMs - silentMs;
    if (leftMs <= 0) this.#options.onDead(silentMs);
    else this.#watch = setTimeout(() => this.#watchSilence(), leftMs);
  }
}
