import type { Duplex } from "node:stream";

/** Up to this size, the packets of one turn are joined: one write costs more than the copy. */
const MAX_JOINED_BYTES = 65_536;

interface OutputOptions {
  /** The connection ends when the client has read nothing for this long. */
  drainTimeoutMs: number;
  /** The client reads again. */
  onDrained(): void;
  onStuck(): void;
}

const waiting: Output[] = [];

function flushAll(): void {
  for (const output of waiting.splice(0)) output.flush();
}

/** Writes all packets to a client in one turn of the event loop with one system call. */
export class Output {
  readonly #connection: Duplex;
  readonly #options: OutputOptions;
  #packets: Uint8Array[] = [];
  #bytes = 0;
  #onWritten: (() => void)[] = [];
  #isScheduled = false;
  #drainTimer: NodeJS.Timeout | undefined;

  constructor(connection: Duplex, options: OutputOptions) {
    this.#connection = connection;
    this.#options = options;
    connection.on("drain", () => {
      clearTimeout(this.#drainTimer);
      this.#drainTimer = undefined;
      options.onDrained();
    });
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

  stop(): void {
    clearTimeout(this.#drainTimer);
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
    if (!this.#connection.writableNeedDrain) return;
    this.#drainTimer ??= setTimeout(() => this.#options.onStuck(), this.#options.drainTimeoutMs).unref();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    if (waiting.push(this) === 1) setImmediate(flushAll);
  }
}
