import type { Duplex } from "node:stream";
import type { ClientAccess } from "../access/client-registry.ts";
import { type PacketCharges, type PacketLimits, PacketMeter, type PacketProblem } from "./packet-meter.ts";
import { PieceJoiner } from "./piece-joiner.ts";

/**
 * Packets of one connection in one turn of the event loop. A packet takes 30 to 100 µs. With 512, three connections
 * that sent UNSUBSCRIBEs delayed an honest camera's events by 270 ms (`npm run test:abuse`).
 */
const MAX_PACKETS_PER_TURN = 32;
/**
 * This many expected acknowledgements count as one packet. Aedes reads no further while it stores a PUBREC, so one write
 * of the store can serve 256 acknowledgements. A client cannot send more of them than the broker has sent messages.
 */
const ACKNOWLEDGEMENTS_PER_PACKET = 8;
/**
 * Bytes read from a connection at once: as many as Node.js reads from the socket at once. A larger read would empty the
 * connection's buffer, so Node.js would read more from the socket, and the bytes that are put back would accumulate:
 * three connections that sent PINGREQs took 40 % of the event loop and 120 MB.
 */
const MAX_READ_BYTES = 65_536;
/**
 * Packets that are read while the client's link is full. Then nothing is read until the link has drained. Each answer
 * that waits takes some 300 bytes, and a client that reads slowly is never disconnected.
 */
const MAX_PACKETS_BEHIND = 4_096;
/** Bytes on the wire per byte of a CONNECT: a WebSocket frame with two bytes of payload has a header of six. */
const FRAMING_FACTOR = 4;

type ThrottledClient = Pick<ClientAccess, "rateLimiter" | "expectedAcks" | "disconnectReason">;

interface ThrottledReadingOptions {
  /** The raw socket, below any WebSocket. */
  socket: Duplex;
  limits: PacketLimits;
  /** Undefined until the client is authenticated. */
  clientOf(): ThrottledClient | undefined;
  /** Called with the reason when the connection must be closed. */
  onProblem(problem: PacketProblem): void;
}

export interface Throttle {
  /** See {@link PacketMeter.protocolLevel}. */
  readonly protocolLevel: number | undefined;
  /** The next `read` of the connection returns these bytes, which an earlier one has returned. */
  giveBack(bytes: Buffer): void;
  /** Ends the limit on bytes: call this when the CONNACK is sent. */
  stopCounting(): void;
}

/**
 * Limits how fast a connection is read: {@link PacketMeter} splits the input into packets, and the client's
 * rate limiter decides how many may be read now. The rest stays in the connection's buffer, and TCP holds back the peer
 * when the buffer is full.
 *
 * Before the CONNACK, the received bytes are limited too: packets that the client sends early, and frames of a
 * WebSocket message that never ends, are buffered for a client that is not authenticated.
 *
 * Call this function after the connection has a listener for `readable`.
 */
export function throttleReading(connection: Duplex, options: ThrottledReadingOptions): Throttle {
  const { socket, limits, onProblem } = options;
  const meter = new PacketMeter(limits);
  const reading = new ThrottledReading(connection, meter, options);
  reading.begin();

  let received = 0;
  let isStopped = false;
  const check = (): void => {
    const allowed = meter.connectRead
      ? limits.maxConnectBytes + limits.maxPacketBytes
      : FRAMING_FACTOR * limits.maxConnectBytes;
    if (isStopped || received <= allowed) return;
    stop();
    onProblem({ kind: "too-large", why: `${received} bytes before the CONNACK exceed the limit of ${allowed}` });
  };
  const count = (chunk: Buffer): void => {
    received += chunk.length;
    // The check runs later, because a WebSocket passes the chunk's content to the meter after this event.
    if (received > FRAMING_FACTOR * limits.maxConnectBytes) setImmediate(check);
  };
  const stop = (): void => {
    isStopped = true;
    socket.off("data", count);
  };
  socket.on("data", count);
  return {
    get protocolLevel() {
      return meter.protocolLevel;
    },
    giveBack: (bytes) => reading.giveBack(bytes),
    stopCounting: stop,
  };
}

class ThrottledReading implements PacketCharges {
  readonly #connection: Duplex;
  readonly #meter: PacketMeter;
  readonly #options: ThrottledReadingOptions;
  readonly #read: (size?: number) => Buffer | null;
  readonly #pieces = new PieceJoiner();
  #client: ThrottledClient | undefined;
  /** Packets in this turn of the event loop. */
  #packets = 0;
  /** Whether reading has stopped until the client's rate limiter calls back. */
  #isThrottled = false;
  /** Whether the rest of the input waits for the next turn. */
  #isTurnOver = false;
  /** Whether Aedes must be made to read again in the next turn. */
  #hasMoreToRead = false;
  #hasEnded = false;
  /** Packets, except expected acknowledgements, since the client's link is full. */
  #packetsBehind = 0;
  #givenBack: Buffer | undefined;

  constructor(connection: Duplex, meter: PacketMeter, options: ThrottledReadingOptions) {
    this.#connection = connection;
    this.#meter = meter;
    this.#options = options;
    this.#read = connection.read.bind(connection);
  }

  begin(): void {
    // Node.js itself calls `read(0)` to fill the buffer without reading from it.
    this.#connection.read = (size) => (size === 0 ? this.#read(0) : this.#next());
    this.#connection.on("drain", () => {
      const hasWaited = this.#packetsBehind >= MAX_PACKETS_BEHIND;
      this.#packetsBehind = 0;
      if (hasWaited) this.#connection.emit("readable");
    });
  }

  giveBack(bytes: Buffer): void {
    if (bytes.length > 0) this.#givenBack = bytes;
  }

  get isAuthenticated(): boolean {
    return this.#client !== undefined;
  }

  mayRead(): boolean {
    return this.#client === undefined || (this.#packets < MAX_PACKETS_PER_TURN && this.#client.rateLimiter.isOpen);
  }

  packet(isAcknowledgement: boolean): void {
    const isExpected = isAcknowledgement && this.#client !== undefined && this.#client.expectedAcks > 0;
    this.#packets += isExpected ? 1 / ACKNOWLEDGEMENTS_PER_PACKET : 1;
    if (this.#client === undefined) return;
    if (!isExpected && this.#connection.writableNeedDrain) this.#packetsBehind++;
    if (isExpected) this.#client.expectedAcks--;
    else this.#client.rateLimiter.spend(1, 0);
  }

  filter(): void {
    this.#client?.rateLimiter.spend(1, 0);
  }

  disconnect(): void {
    if (this.#client !== undefined) this.#client.disconnectReason ??= "it sent DISCONNECT";
  }

  #next(): Buffer | null {
    if (this.#givenBack !== undefined) {
      const bytes = this.#givenBack;
      this.#givenBack = undefined;
      return bytes;
    }
    if (this.#hasEnded || this.#isThrottled || this.#packetsBehind >= MAX_PACKETS_BEHIND) return null;
    if (this.#isTurnOver) {
      // Aedes may call `read` again in this turn, while its parser still works on the last portion.
      this.#hasMoreToRead = true;
      return null;
    }
    this.#client ??= this.#options.clientOf();
    if (this.#client !== undefined && !this.#client.rateLimiter.openOr(this.#resume)) {
      this.#isThrottled = true;
      return null;
    }
    const { readableLength } = this.#connection;
    // A read from an empty buffer fills the buffer, and detects the end of the stream.
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
    } else if (!endsPacket) this.#readOn();
    const joined = this.#pieces.join(bytes, endsPacket);
    return joined.length === 0 ? null : joined;
  }

  /** Aedes would read again only after a complete packet or when more bytes arrive. */
  #readOn(): void {
    if (this.#connection.readableLength > 0) {
      // The rest of this packet may already be in the buffer.
      this.#hasMoreToRead = true;
      this.#endTurnLater();
    } else {
      // The end of the stream may have arrived before the buffer was read to its end. Node.js detects it at the next read.
      this.#read(0);
    }
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
