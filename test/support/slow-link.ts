import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** The bytes of one connection that wait in the link; the sender waits with the rest. */
const BUFFER_BYTES = 16 * 1024;
/** The connections take turns to send this number of bytes. */
const TURN_BYTES = 512;
const TICK_MS = 10;

/** What a link can carry. Headers of TCP and IP are not counted. */
export interface Capacity {
  /** Of all connections together, in each direction. */
  bytesPerS: number;
  roundTripMs: number;
}

export interface LinkRequest {
  /** Such as `GET /assets/index.js`. */
  line: string;
  /** When the request entered the link, milliseconds since 1970. */
  at: number;
}

/** A TCP proxy before an HTTP server. All connections share a slow link, as all of a place do. */
export class SlowLink {
  /** The requests so far, also the one of a WebSocket. */
  readonly requests: LinkRequest[] = [];
  readonly #received: { at: number; bytes: number }[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #down: Direction;
  readonly #up: Direction;

  private constructor(target: number, { bytesPerS, roundTripMs }: Capacity) {
    this.#down = new Direction(bytesPerS, roundTripMs / 2, (bytes) => this.#received.push({ at: wallClock(), bytes }));
    this.#up = new Direction(bytesPerS, roundTripMs / 2, () => {});
    this.#server = createServer((client) => this.#carry(client, connect(target, "127.0.0.1"), roundTripMs));
  }

  /** @param target the port of the server on 127.0.0.1 */
  static async open(target: number, capacity: Capacity): Promise<SlowLink> {
    const link = new SlowLink(target, capacity);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    return link;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return address.port;
  }

  /** The bytes that reached the browser until then. @param at milliseconds since 1970 */
  bytesUntil(at: number): number {
    return this.#received.reduce((sum, part) => (part.at <= at ? sum + part.bytes : sum), 0);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#down.stop();
    this.#up.stop();
    await closed;
  }

  #carry(client: Socket, server: Socket, roundTripMs: number): void {
    // SYN and SYN-ACK travel before the first byte of the client.
    const openAt = performance.now() + roundTripMs;
    this.#up.carry(client, server, openAt);
    this.#down.carry(server, client, openAt);
    client.on("data", (bytes: Buffer) => {
      const line = /^((?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+) HTTP/.exec(bytes.toString("latin1"))?.[1];
      if (line !== undefined) this.requests.push({ line, at: wallClock() });
    });
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}

interface Pipe {
  from: Socket;
  to: Socket;
  openAt: number;
  queue: { due: number; bytes: Buffer }[];
  heldBytes: number;
}

/** One direction of the link. */
class Direction {
  readonly #bytesPerS: number;
  readonly #delayMs: number;
  readonly #onDelivered: (bytes: number) => void;
  #pipes: Pipe[] = [];
  #credit = 0;
  #last = performance.now();
  readonly #timer = setInterval(() => this.#flow(), TICK_MS);

  constructor(bytesPerS: number, delayMs: number, onDelivered: (bytes: number) => void) {
    this.#bytesPerS = bytesPerS;
    this.#delayMs = delayMs;
    this.#onDelivered = onDelivered;
  }

  carry(from: Socket, to: Socket, openAt: number): void {
    const pipe: Pipe = { from, to, openAt, queue: [], heldBytes: 0 };
    this.#pipes.push(pipe);
    from.on("data", (bytes: Buffer) => {
      pipe.queue.push({ due: Math.max(openAt, performance.now()) + this.#delayMs, bytes });
      pipe.heldBytes += bytes.length;
      if (pipe.heldBytes > BUFFER_BYTES) from.pause();
    });
    to.on("close", () => {
      this.#pipes = this.#pipes.filter((other) => other !== pipe);
    });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #flow(): void {
    const now = performance.now();
    // An idle link saves up nothing, except for a tick that came late.
    this.#credit = Math.min(this.#credit, 0) + (this.#bytesPerS * (now - this.#last)) / 1000;
    this.#last = now;
    while (this.#credit > 0) {
      const index = this.#pipes.findIndex(({ queue }) => (queue[0]?.due ?? Number.POSITIVE_INFINITY) <= now);
      const [pipe] = index === -1 ? [] : this.#pipes.splice(index, 1);
      if (pipe === undefined) return;
      this.#pipes.push(pipe);
      this.#credit -= this.#send(pipe);
    }
  }

  /** @returns the number of bytes */
  #send(pipe: Pipe): number {
    const [first] = pipe.queue;
    if (first === undefined) return 0;
    const part = first.bytes.subarray(0, TURN_BYTES);
    first.bytes = first.bytes.subarray(TURN_BYTES);
    if (first.bytes.length === 0) pipe.queue.shift();
    pipe.heldBytes -= part.length;
    if (pipe.heldBytes <= BUFFER_BYTES) pipe.from.resume();
    pipe.to.write(part);
    this.#onDelivered(part.length);
    return part.length;
  }
}

/** With fractions, like the clock of a page. */
function wallClock(): number {
  return performance.timeOrigin + performance.now();
}
