import type { Duplex } from "node:stream";
import type { RateLimiter } from "../../platform/rate-limiter.ts";
import { type PacketLimits, PacketMeter, type Toll } from "./packet-meter.ts";

/**
 * Packets of one connection that go on in one turn of the event loop, so that others get theirs: a packet costs 30 to 100 µs.
 * With 512, three connections that sent UNSUBSCRIBEs made an honest camera's events 270 ms late (`npm run test:abuse`).
 */
const MAX_PACKETS_PER_TURN = 32;
/**
 * Bytes taken from a connection at once: as much as Node.js fetches at once. A read that empties the buffer has it fetch more,
 * so what is put back would pile up: three connections of PINGREQs cost 40 % of the event loop and 120 MB in copies of it.
 */
const MAX_READ_BYTES = 65_536;
/** Bytes on the wire for each byte of a CONNECT: in WebSocket frames of two bytes, each with a header of six. */
const FRAMING = 4;

/** A client that has been let in, as far as reading from it is concerned. */
interface ThrottledClient {
  readonly rateLimiter: RateLimiter;
  /** Acknowledgements that it owes for what it was sent, and that cost it nothing. */
  expectedAcks: number;
  /** Why its connection ends, as far as it is known. */
  disconnectReason: string | undefined;
}

interface ThrottledReadingOptions {
  /** The raw socket, below any WebSocket. */
  socket: Duplex;
  limits: PacketLimits;
  /** Undefined until the client has proved who it is. */
  clientOf(): ThrottledClient | undefined;
  /** Called with what is wrong, when the connection is to be ended. */
  onProblem(problem: string): void;
}

/**
 * Lets Aedes read from a connection what {@link PacketMeter} lets through, when the client's {@link RateLimiter} allows it. What may
 * not go on yet stays in the connection's own buffer: when that is full the system holds the peer back, and an end of the
 * stream is seen after everything before it.
 *
 * Before the CONNACK it calls back when too much comes: that waits in memory for somebody who is not known yet, further
 * packets, for a client need not wait for the answer, and on a WebSocket frames whose message never ends.
 *
 * To be called after Aedes has taken the connection.
 * @returns to be called when the CONNACK is sent
 */
export function throttleReading(connection: Duplex, options: ThrottledReadingOptions): () => void {
  const { socket, limits, onProblem } = options;
  const meter = new PacketMeter(limits);
  new ThrottledReading(connection, meter, options).begin();

  let early = 0;
  let known = false;
  const look = (): void => {
    const allowed = meter.connectRead
      ? limits.maxConnectBytes + limits.maxPacketBytes
      : FRAMING * limits.maxConnectBytes;
    if (known || early <= allowed) return;
    stop();
    onProblem(`${early} bytes before the CONNACK, where ${allowed} are allowed`);
  };
  const watchEarly = (chunk: Buffer): void => {
    early += chunk.length;
    // What the chunk says, a WebSocket hands on a moment later.
    if (early > FRAMING * limits.maxConnectBytes) setImmediate(look);
  };
  const stop = (): void => {
    known = true;
    socket.off("data", watchEarly);
  };
  socket.on("data", watchEarly);
  return stop;
}

class ThrottledReading implements Toll {
  readonly #connection: Duplex;
  readonly #meter: PacketMeter;
  readonly #options: ThrottledReadingOptions;
  readonly #read: (size?: number) => Buffer | null;
  #client: ThrottledClient | undefined;
  #packets = 0;
  #isWaiting = false;
  /** A portion was handed on in this turn of the event loop, and more is there. */
  #hasHadTurn = false;
  #wantsTurn = false;
  #hasEnded = false;

  constructor(connection: Duplex, meter: PacketMeter, options: ThrottledReadingOptions) {
    this.#connection = connection;
    this.#meter = meter;
    this.#options = options;
    this.#read = connection.read.bind(connection);
  }

  begin(): void {
    // Node.js itself calls `read(0)`, to have the buffer filled without taking anything out of it.
    this.#connection.read = (size) => (size === 0 ? this.#read(0) : this.#next());
  }

  get isKnown(): boolean {
    return this.#client !== undefined;
  }

  mayTake(): boolean {
    return this.#client === undefined || (this.#packets < MAX_PACKETS_PER_TURN && this.#client.rateLimiter.isOpen);
  }

  packet(isAnswer: boolean): void {
    this.#packets++;
    if (this.#client === undefined) return;
    if (isAnswer && this.#client.expectedAcks > 0) this.#client.expectedAcks--;
    else this.#client.rateLimiter.spend(1, 0);
  }

  filter(): void {
    this.#client?.rateLimiter.spend(1, 0);
  }

  goodbye(): void {
    if (this.#client !== undefined) this.#client.disconnectReason ??= "it sent DISCONNECT";
  }

  #next(): Buffer | null {
    if (this.#hasEnded || this.#isWaiting) return null;
    if (this.#hasHadTurn) {
      // Aedes may ask while its parser is at work on the portion before, where it cannot take another.
      this.#wantsTurn = true;
      return null;
    }
    this.#client ??= this.#options.clientOf();
    if (this.#client !== undefined && !this.#client.rateLimiter.openOr(this.#resume)) {
      this.#isWaiting = true;
      return null;
    }
    const { readableLength } = this.#connection;
    // A read of nothing has the buffer filled, and tells of the end of the stream.
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
      this.#comeAgain();
    } else if (!endsPacket && this.#connection.readableLength > 0) {
      // Aedes asks again after a packet, or when more arrives; all of this one may be here.
      this.#wantsTurn = true;
      this.#comeAgain();
    }
    return bytes.length === 0 ? null : bytes;
  }

  #comeAgain(): void {
    this.#hasHadTurn = true;
    setImmediate(this.#endTurn);
  }

  readonly #resume = (): void => {
    this.#isWaiting = false;
    this.#connection.emit("readable");
  };

  readonly #endTurn = (): void => {
    this.#hasHadTurn = false;
    if (!this.#wantsTurn) return;
    this.#wantsTurn = false;
    this.#connection.emit("readable");
  };
}
