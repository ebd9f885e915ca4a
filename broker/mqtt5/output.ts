import type { Duplex } from "node:stream";

/** Up to this size, the packets of one turn are joined: one write costs more than the copy. */
const MAX_JOINED_BYTES = 65_536;

interface OutputOptions {
  /** The client reads again. */
  onDrained(): void;
}

const waiting: Output[] = [];

function flushAll(): void {
  for (const output of waiting.splice(0)) output.flush();
}

/** Writes all packets to a client in one turn of the event loop with one system call. */
export class Output {
  readonly #connection: Duplex;
  #packets: Uint8Array[] = [];
  #bytes = 0;
  #onWritten: (() => void)[] = [];
  #isScheduled = false;

  constructor(connection: Duplex, { onDrained }: OutputOptions) {
    this.#connection = connection;
    connection.on("drain", onDrained);
  }

  /** Bytes that the client's link has not taken yet. */
  get unsentBytes(): number {
    return this.#connection.writableLength + this.#bytes;
  }

  /** @param packet a packet, or a part of one */
  send(packet: Uint8Array): void {
    this.#packets.push(packet);
    this.#bytes += packet.length;
    this.#schedule();
  }

  /** Calls back when what was sent before has been passed to the connection, or the connection has ended. */
  afterWrite(callback: () => void): void {
    this.#onWritten.push(callback);
    this.#schedule();
  }

  flush(): void {
    this.#isScheduled = false;
    const packets = this.#packets;
    const bytes = this.#bytes;
    const onWritten = this.#onWritten;
    this.#packets = [];
    this.#bytes = 0;
    this.#onWritten = [];
    if (bytes > 0 && this.#connection.writable) this.#write(packets, bytes);
    for (const written of onWritten) written();
  }

  #write(packets: readonly Uint8Array[], bytes: number): void {
    const [first] = packets;
    if (packets.length === 1) this.#connection.write(first);
    else if (bytes <= MAX_JOINED_BYTES) this.#connection.write(Buffer.concat(packets, bytes));
    else {
      this.#connection.cork();
      for (const packet of packets) this.#connection.write(packet);
      this.#connection.uncork();
    }
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    if (waiting.push(this) === 1) setImmediate(flushAll);
  }
}
