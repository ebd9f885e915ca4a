import type { Duplex } from "node:stream";

const CONNECT = 1;
/** A fixed header has at most 4 bytes of length [MQTT-2.2.3]. */
const MAX_LENGTH_BYTES = 4;

export interface PacketLimits {
  /** The whole CONNECT packet, bytes. */
  maxConnectBytes: number;
  /** Any later packet, bytes. */
  maxPacketBytes: number;
}

/**
 * Reads along with the fixed headers of what a client sends and finds the first packet that is too large, or the first
 * packet that is not a CONNECT, when its header has come. Aedes' parser has no limit: it would collect the whole of a
 * packet of 256 MB before anybody is asked whether the client may send it.
 */
export class PacketMeter {
  readonly #limits: PacketLimits;
  /** Bytes of the current packet's body that are still to come. */
  #body = 0;
  #inHeader = false;
  #length = 0;
  #lengthBytes = 0;
  #connectSeen = false;
  #connectRead = false;

  constructor(limits: PacketLimits) {
    this.#limits = limits;
  }

  /** Whether a CONNECT that is not too large has come, to its last byte. */
  get connectRead(): boolean {
    return this.#connectRead;
  }

  /** @returns what is wrong, or undefined */
  read(chunk: Uint8Array): string | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body > 0) {
        const taken = Math.min(this.#body, chunk.length - at);
        this.#body -= taken;
        this.#connectRead ||= this.#body === 0;
        at += taken;
        continue;
      }
      const byte = chunk[at++] ?? 0;
      const problem = this.#inHeader ? this.#readLength(byte) : this.#readType(byte);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  #readType(byte: number): string | undefined {
    if (!this.#connectSeen && byte >> 4 !== CONNECT) return "the first packet is not an MQTT CONNECT";
    this.#inHeader = true;
    this.#length = 0;
    this.#lengthBytes = 0;
    return undefined;
  }

  #readLength(byte: number): string | undefined {
    this.#length += (byte & 0x7f) * 128 ** this.#lengthBytes;
    this.#lengthBytes++;
    const limit = this.#connectSeen ? this.#limits.maxPacketBytes : this.#limits.maxConnectBytes;
    if (this.#length > limit) return `a packet of ${this.#length} bytes or more, where ${limit} are allowed`;
    if ((byte & 0x80) !== 0) {
      return this.#lengthBytes >= MAX_LENGTH_BYTES ? "a packet whose length is malformed" : undefined;
    }
    this.#inHeader = false;
    this.#connectSeen = true;
    this.#body = this.#length;
    this.#connectRead ||= this.#body === 0;
    return undefined;
  }
}

/** Bytes on the wire for each byte of a CONNECT: in WebSocket frames of two bytes, each with a header of six. */
const FRAMING = 4;

/**
 * Calls back, with what is wrong, when the connection sends a packet that {@link PacketMeter} refuses, or too much before
 * its CONNACK. What comes before that waits in memory for somebody who is not known yet: further packets, for a client
 * need not wait for the answer, and on a WebSocket frames whose message never ends.
 *
 * To be called after Aedes has taken the connection: with its `readable` listener in place, `data` is emitted for each
 * chunk that Aedes reads, before Aedes sees it, and takes nothing away.
 * @param socket the raw one, below any WebSocket
 * @returns to be called when the CONNACK is sent
 */
export function watchPackets(
  connection: Duplex,
  socket: Duplex,
  limits: PacketLimits,
  onProblem: (problem: string) => void,
): () => void {
  const meter = new PacketMeter(limits);
  const watch = (chunk: Buffer): void => {
    const problem = meter.read(chunk);
    if (problem === undefined) return;
    connection.off("data", watch);
    onProblem(problem);
  };
  connection.on("data", watch);

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
