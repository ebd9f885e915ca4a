import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** The buffer of a modem in each direction. */
const BUFFER_BYTES = 16 * 1024;
const TICK_MS = 20;

/** One direction of a connection: delayed, slow, and in order. */
class Pipe {
  readonly #link: BadLink;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #slow: boolean;
  #queue: { due: number; bytes: Buffer }[] = [];
  #held = 0;
  #credit = 0;
  #ended = false;
  readonly #timer: NodeJS.Timeout;

  constructor(link: BadLink, from: Socket, to: Socket, slow: boolean) {
    this.#link = link;
    this.#from = from;
    this.#to = to;
    this.#slow = slow;
    from.on("data", (bytes: Buffer) => this.#take(bytes));
    from.on("end", () => {
      this.#ended = true;
      this.#flow();
    });
    this.#timer = setInterval(() => this.#flow(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #take(bytes: Buffer): void {
    if (this.#link.silent) return;
    this.#queue.push({ due: performance.now() + this.#link.delayMs, bytes });
    this.#held += bytes.length;
    if (this.#link.bytesPerS !== undefined && this.#held > BUFFER_BYTES) this.#from.pause();
    this.#flow();
  }

  #flow(): void {
    const { bytesPerS } = this.#link;
    const limited = this.#slow && bytesPerS !== undefined;
    if (limited) this.#credit = Math.min(this.#credit + (bytesPerS * TICK_MS) / 1000, bytesPerS / 4);
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      if (this.#link.silent || first.due > performance.now() || (limited && this.#credit < 1)) break;
      const part = limited ? first.bytes.subarray(0, Math.floor(this.#credit)) : first.bytes;
      if (limited) this.#credit -= part.length;
      if (this.#slow && !this.#link.pass(part, this.#to)) return;
      if (!this.#slow && this.#to.writable) this.#to.write(part);
      this.#held -= part.length;
      if (part.length === first.bytes.length) this.#queue.shift();
      else first.bytes = first.bytes.subarray(part.length);
    }
    if (this.#held <= BUFFER_BYTES) this.#from.resume();
    if (this.#ended && !this.#link.silent && this.#queue.length === 0 && this.#to.writable) this.#to.end();
  }
}

/**
 * A TCP proxy that behaves like a link in the mountains. It delays both directions by {@link BadLink.delayMs}, carries
 * {@link BadLink.bytesPerS} upwards, drops everything while {@link BadLink.silent} without closing a connection, and
 * accepts no connection while {@link BadLink.down}.
 */
export class BadLink {
  delayMs = 0;
  bytesPerS: number | undefined;
  /** The start of each connection, by `performance.now()`. */
  readonly connectedAt: number[] = [];
  #down = false;
  #silent = false;
  #cutAfter: number | undefined;
  readonly #target: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #clients = new Set<Socket>();
  readonly #abandoned = new WeakSet<Socket>();

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((socket) => this.#carry(socket));
  }

  /** @param target the port of the server on 127.0.0.1 */
  static async open(target: number): Promise<BadLink> {
    const link = new BadLink(target);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    return link;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return address.port;
  }

  get down(): boolean {
    return this.#down;
  }

  /** While true, the link cuts open connections and new connections. */
  set down(down: boolean) {
    this.#down = down;
    if (down) this.cut();
  }

  get silent(): boolean {
    return this.#silent;
  }

  /** The end of a silence cuts all connections that were open during the silence, because they have lost bytes. */
  set silent(silent: boolean) {
    this.#silent = silent;
    if (!silent) this.cut();
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Ends the clients' side of all connections; the server's side stays open. */
  abandon(): void {
    for (const client of this.#clients) {
      this.#abandoned.add(client);
      client.destroy();
    }
  }

  /** Cuts all connections after the given number of further bytes to the server, even in the middle of a packet. */
  cutAfter(bytes: number): void {
    this.#cutAfter = bytes;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut();
    await closed;
  }

  /** Passes bytes to the server. @returns false if these bytes caused the cut of the connection */
  pass(bytes: Buffer, to: Socket): boolean {
    if (this.#cutAfter !== undefined && bytes.length >= this.#cutAfter) {
      const part = bytes.subarray(0, this.#cutAfter);
      this.#cutAfter = undefined;
      // Accepted bytes still arrive before the end of the connection.
      to.write(part, () => this.cut());
      return false;
    }
    if (this.#cutAfter !== undefined) this.#cutAfter -= bytes.length;
    if (to.writable) to.write(bytes);
    return true;
  }

  #carry(client: Socket): void {
    if (this.#down) {
      client.destroy();
      return;
    }
    this.connectedAt.push(performance.now());
    const server = connect(this.#target, "127.0.0.1");
    this.#clients.add(client);
    client.once("close", () => this.#clients.delete(client));
    const pipes = [new Pipe(this, client, server, true), new Pipe(this, server, client, false)];
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        for (const pipe of pipes) pipe.stop();
        // A silent or abandoned link does not report the end of the other side.
        if (!this.silent && !this.#abandoned.has(socket)) other.destroy();
      });
    }
  }
}
