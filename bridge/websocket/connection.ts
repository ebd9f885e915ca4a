import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { CloseCode } from "../../contract/codes.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";
import { SendProgress } from "../../platform/send-progress.ts";
import type { FrameSink } from "../delivery/frame-sink.ts";
import { messageFrame } from "../delivery/frames.ts";

/**
 * A WebSocket and the raw socket below it. Complete frames are written to the raw socket in one system call, however
 * many events they hold. `ws` writes its own frames (pong, close) to the same socket. All frames keep the order of the
 * calls, because `ws` writes each frame at once: nothing is compressed.
 */
export class Connection implements FrameSink {
  readonly id: string;
  readonly ws: WebSocket;
  readonly socket: Duplex;
  readonly address: string;
  /** Set once the client is authenticated. */
  user: string | undefined;
  /** By `performance.now()`, like all times here: setting the system's clock would stop pings or close connections. */
  readonly openedAt: number;
  readonly #maxQueuedBytes: number;
  /** When the client last sent anything. */
  heardAt: number;
  /** When the next ping is due. */
  pingAt = 0;
  /** Pings since the client was last heard. */
  unansweredPings = 0;
  /** The code with which this side closed. */
  closedWith: CloseCode | undefined;
  readonly #progress: SendProgress;

  constructor(
    id: string,
    { ws, socket, address }: { ws: WebSocket; socket: Duplex; address: string },
    { openedAt, maxQueuedBytes, drainTimeoutMs }: { openedAt: number; maxQueuedBytes: number; drainTimeoutMs: number },
  ) {
    this.id = id;
    this.ws = ws;
    this.socket = socket;
    this.address = address;
    this.#progress = new SendProgress(socket, drainTimeoutMs);
    this.openedAt = openedAt;
    this.heardAt = openedAt;
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  get open(): boolean {
    return this.ws.readyState === WebSocket.OPEN;
  }

  get names(): FrameSink["names"] {
    return { connection: this.id, user: this.user };
  }

  /** Bytes that the operating system has not accepted yet. */
  get queuedBytes(): number {
    return this.socket.writableLength;
  }

  get blocked(): boolean {
    return this.socket.writableNeedDrain;
  }

  heard(now: number): void {
    this.heardAt = now;
    this.unansweredPings = 0;
  }

  write(frames: Buffer): void {
    if (this.open) this.socket.write(frames);
  }

  /** Sends a reply. Disconnects a client that keeps sending requests and does not read the replies. */
  send(message: ServerMessage): void {
    this.write(messageFrame(message));
    if (this.queuedBytes > 2 * this.#maxQueuedBytes) this.terminate(CloseCode.slow, "the client does not read replies");
  }

  /** Starts the closing handshake. `ws` destroys the socket if the client does not respond in time. */
  close(code: CloseCode, reason: string): void {
    if (this.closedWith !== undefined || !this.open) return;
    this.closedWith = code;
    this.ws.close(code, reason);
  }

  /** Sends a close frame and destroys the socket at once. The client may not receive the frame. */
  terminate(code: CloseCode, reason: string): void {
    this.close(code, reason);
    this.ws.terminate();
  }

  /** How long the client has read nothing from the queue, milliseconds; 0 when nothing is queued. */
  stalledMs(now: number): number {
    return this.#progress.stalledMs(now);
  }
}
