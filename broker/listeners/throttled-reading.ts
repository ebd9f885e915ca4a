import type { Duplex } from "node:stream";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import { type PacketCharges, type PacketLimits, PacketMeter } from "./packet-meter.ts";

/**
 * Packets of one connection that are passed on in one turn of the event loop. A packet takes 30 to 100 µs, and other
 * connections wait for it. With 512, three connections that sent UNSUBSCRIBEs delayed an honest camera's events by
 * 270 ms (`npm run test:abuse`).
 */
const MAX_PACKETS_PER_TURN = 32;
/**
 * Bytes read from a connection at once: as many as Node.js reads from the socket at once. A read that empties the
 * buffer makes Node.js read more, so bytes put back with `unshift` would accumulate: three connections that sent
 * PINGREQs took 40 % of the event loop and 120 MB for copies.
 */
const MAX_READ_BYTES = 65_536;
/** Bytes on the wire per byte of a CONNECT: a WebSocket frame with two bytes of payload has a header of six. */
const FRAMING_FACTOR = 4;

/** The part of an authenticated client's state that concerns reading. */
interface ThrottledClient {
  readonly rateLimiter: RateLimiter;
  /** Acknowledgements that the client still has to send for messages delivered to it. They are free of charge. */
  expectedAcks: number;
  /** Why the client's connection ends; undefined until a reason is known. */
  disconnectReason: string | undefined;
}

interface ThrottledReadingOptions {
  /** The raw socket, below any WebSocket. */
  socket: Duplex;
  limits: PacketLimits;
  /** Undefined until the client is authenticated. */
  clientOf(): ThrottledClient | undefined;
  /** Called with the reason when the connection must be closed. */
  onProblem(problem: string): void;
}

/**
 * Limits how fast Aedes reads from a connection: {@link PacketMeter} splits the input into packets, and the client's
 * {@link RateLimiter} decides how many may be read now. The rest stays in the connection's own buffer. When the buffer
 * is full, TCP holds the peer back, and the end of the stream is seen after everything before it.
 *
 * Before the CONNACK, the received bytes are limited too, as they are buffered for a client that is not authenticated:
 * further packets, because a client need not wait for the CONNACK, and frames of a WebSocket message that never ends.
 *
 * Call it after Aedes' `handle`.
 * @returns a function that ends the limit on bytes: call it when the CONNACK is sent
 */
export function throttleReading(connection: Duplex, options: ThrottledReadingOptions): () => void {
  const { socket, limits, onProblem } = options;
  const meter = new PacketMeter(limits);
  new ThrottledReading(connection, meter, options).begin();

  let received = 0;
  let isStopped = false;
  const check = (): void => {
    const allowed = meter.connectRead
      ? limits.maxConnectBytes + limits.maxPacketBytes
      : FRAMING_FACTOR * limits.maxConnectBytes;
    if (isStopped || received <= allowed) return;
    stop();
    onProblem(`${received} bytes before the CONNACK exceed the limit of ${allowed}`);
  };
  const count = (chunk: Buffer): void => {
    received += chunk.length;
    // Checked later, because a WebSocket passes the chunk's content to the meter only after this event.
    if (received > FRAMING_FACTOR * limits.maxConnectBytes) setImmediate(check);
  };
  const stop = (): void => {
    isStopped = true;
    socket.off("data", count);
  };
  socket.on("data", count);
  return stop;
}

class ThrottledReading implements PacketCharges {
  readonly #connection: Duplex;
  readonly #meter: PacketMeter;
  readonly #options: ThrottledReadingOptions;
  readonly #read: (size?: number) => Buffer | null;
  #client: ThrottledClient | undefined;
  /** Packets passed on in this turn of the event loop. */
  #packets = 0;
  /** The client's rate limiter is closed and will call back. */
  #isThrottled = false;
  /** This turn's portion has been passed on, and more has arrived. */
  #isTurnOver = false;
  /** Aedes has asked for more in this turn, and must be notified in the next. */
  #hasMoreToRead = false;
  #hasEnded = false;

  constructor(connection: Duplex, meter: PacketMeter, options: ThrottledReadingOptions) {
    this.#connection = connection;
    this.#meter = meter;
    this.#options = options;
    this.#read = connection.read.bind(connection);
  }

  begin(): void {
    // Node.js itself calls `read(0)` to fill the buffer without reading from it.
    this.#connection.read = (size) => (size === 0 ? this.#read(0) : this.#next());
  }

  get isAuthenticated(): boolean {
    return this.#client !== undefined;
  }

  mayRead(): boolean {
    return this.#client === undefined || (this.#packets < MAX_PACKETS_PER_TURN && this.#client.rateLimiter.isOpen);
  }

  packet(isAcknowledgement: boolean): void {
    this.#packets++;
    if (this.#client === undefined) return;
    if (isAcknowledgement && this.#client.expectedAcks > 0) this.#client.expectedAcks--;
    else this.#client.rateLimiter.spend(1, 0);
  }

  filter(): void {
    this.#client?.rateLimiter.spend(1, 0);
  }

  disconnect(): void {
    if (this.#client !== undefined) this.#client.disconnectReason ??= "it sent DISCONNECT";
  }

  #next(): Buffer | null {
    if (this.#hasEnded || this.#isThrottled) return null;
    if (this.#isTurnOver) {
      // Aedes may call while its parser is still working on the last portion and cannot handle another one.
      this.#hasMoreToRead = true;
      return null;
    }
    this.#client ??= this.#options.clientOf();
    if (this.#client !== undefined && !this.#client.rateLimiter.openOr(this.#resume)) {
      this.#isThrottled = true;
      return null;
    }
    const { readableLength } = this.#connection;
    // Reading from an empty buffer fills it, and detects the end of the stream.
    const chunk = readableLength === 0 ? this.#read() : this.#read(Math.min(MAX_READ_BYTES, readableLength));
    if (chunk === null) return null;
    this.#packets = 0;
    const { bytes, endsPacket, rest, problem } = this.#meter.read(chunk, this);
    if (problem !== undefined) {
      this.#hasEnded = true;
      this.#options.onProblem(problem);
      return null;
    }
    this.#client?.rateLimiter.spend(0, chunk.length - rest.length);
    if (rest.length > 0) {
      this.#connection.unshift(rest);
      this.#endTurnLater();
    } else if (!endsPacket && this.#connection.readableLength > 0) {
      // Aedes reads again only after a complete packet or when more arrives, but the rest of this packet may already be
      // buffered.
      this.#hasMoreToRead = true;
      this.#endTurnLater();
    }
    return bytes.length === 0 ? null : bytes;
  }

  #endTurnLater(): void {
    this.#isTurnOver = true;
    setImmediate(this.#endTurn);
  }

  readonly #resume = (): void => {
    this.#isThrottled = false;
    this.#connection.emit("readable");
  };

  readonly #endTurn = (): void => {
    this.#isTurnOver = false;
    if (!this.#hasMoreToRead) return;
    this.#hasMoreToRead = false;
    this.#connection.emit("readable");
  };
}
