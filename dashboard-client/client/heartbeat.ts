/** The first ping waits: the page is busy right after it has connected, and the delay would count as latency. */
const FIRST_PING_MS = 1000;

export interface HeartbeatOptions {
  /** Returns ids from the same sequence as those of requests, so that an error with an id is never ambiguous. */
  nextId: () => number;
  /** Sends a `ping` with this id. The server answers with a `pong` with the same id. */
  sendPing: (id: number) => void;
  /** Called when the server has been silent for too long. */
  onDead: (silentMs: number) => void;
  onLatency: (latencyMs: number) => void;
  /** Milliseconds between two pings of this client, which measure the latency. With 0 the client sends no pings. */
  latencyIntervalMs: number;
  /**
   * Milliseconds. The server may stay silent for this long beyond two of its ping intervals, and has this long to
   * answer a probe.
   */
  graceMs: number;
}

/**
 * Tells a quiet connection from a dead one. A browser does not show WebSocket pings to a page, and it may take a
 * quarter of an hour to notice that the server is unreachable. Therefore the server sends `ping` messages; each of
 * them, and any other message, proves that the server is alive.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #heardAt = 0;
  /** A message has arrived since the last probe. Times do not show this: many messages may arrive in a millisecond. */
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

  /** When the last message arrived, milliseconds since 1970. 0 before the first one. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /**
   * @param serverPingIntervalMs as the server announced it; with 0 or less the server sends no pings, and silence is
   * allowed
   */
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

  /** Called for every message. Does not touch a timer, because tens of thousands of messages may arrive in a second. */
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

  /** Asks the server to answer now. Used after the page was suspended or the network changed. */
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
