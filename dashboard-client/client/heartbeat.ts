/** Not at once: what follows a new connection keeps a page busy, and would be taken for latency. */
const FIRST_PING_MS = 1000;

export interface HeartbeatOptions {
  /** Ids for pings, from the same count as those of requests: an error that names one is then never mistaken. */
  nextId: () => number;
  /** Sends a `ping` with this id; the answer is a `pong` with the same. */
  sendPing: (id: number) => void;
  /** The server has been silent for too long. */
  onDead: (silentMs: number) => void;
  onLatency: (latencyMs: number) => void;
  /** Between two of our own pings, which measure the latency. 0 sends none. */
  latencyIntervalMs: number;
  /** How long the server may stay silent beyond two of its ping intervals, and how long it has to answer a probe. */
  graceMs: number;
}

/**
 * Tells a quiet link from a dead one. A browser does not see WebSocket pings and may take a quarter of an hour to
 * notice that the other side is gone; the server's own `ping` messages, and any other message, are the proof of life.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #heardAt = 0;
  /** Whether anything was heard since the last probe; times are too coarse to tell, a millisecond sees many messages. */
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

  /** When anything was last heard, milliseconds since 1970. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** @param serverPingIntervalMs as the server announced it; 0 or less: the server sends none, nothing is watched */
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

  /** Called for every message: no timer is touched, for there may be tens of thousands a second. */
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

  /** Asks for a sign of life now: the page was asleep, or the network changed, and the link may be long gone. */
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
