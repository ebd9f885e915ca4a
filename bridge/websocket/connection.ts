import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { CloseCode } from "../../contract/codes.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";
import type { FrameSink } from "../delivery/frame-sink.ts";
import { messageFrame } from "../delivery/frames.ts";

/**
 * A WebSocket and the raw socket below it. Whole frames are written to the raw socket, one system call however many
 * events they hold. `ws` writes its own (pong, close) there too, each in one go as long as nothing is compressed, so
 * frames keep the order of the calls.
 */
export class Connection implements FrameSink {
  readonly id: string;
  readonly ws: WebSocket;
  readonly socket: Duplex;
  readonly address: string;
  /** By `performance.now()`, as are all moments here: were the clock set, nobody would be pinged, or everybody cut. */
  readonly openedAt: number;
  readonly #maxQueuedBytes: number;
  /** When the peer last sent anything. */
  heardAt: number;
  /** When the next ping is due. */
  pingAt = 0;
  /** Pings since the peer was last heard. */
  unanswered = 0;
  /** Why this side closed; undefined while it has not. */
  closedWith: CloseCode | undefined;
  /** When the queue last became shorter, and what it held when that was last looked at. */
  #drainedAt = 0;
  #queuedBytes = 0;

  constructor(
    id: string,
    { ws, socket, address }: { ws: WebSocket; socket: Duplex; address: string },
    { openedAt, maxQueuedBytes }: { openedAt: number; maxQueuedBytes: number },
  ) {
    this.id = id;
    this.ws = ws;
    this.socket = socket;
    this.address = address;
    this.openedAt = openedAt;
    this.heardAt = openedAt;
    this.#maxQueuedBytes = maxQueuedBytes;
  }

  /** False as soon as either side has begun to close: after a close frame nothing may follow. */
  get open(): boolean {
    return this.ws.readyState === WebSocket.OPEN;
  }

  /** Bytes that the peer has not taken. */
  get queuedBytes(): number {
    return this.socket.writableLength;
  }

  /** True from a write that the system did not take whole until everything is sent, which `drain` tells. */
  get blocked(): boolean {
    return this.socket.writableNeedDrain;
  }

  heard(now: number): void {
    this.heardAt = now;
    this.unanswered = 0;
  }

  /** @param frames whole frames, nothing less */
  write(frames: Buffer): void {
    if (this.open) this.socket.write(frames);
  }

  /** A reply. A peer that asks and asks and does not read the answers is cut off. */
  send(message: ServerMessage): void {
    this.write(messageFrame(message));
    if (this.queuedBytes > 2 * this.#maxQueuedBytes) this.cut(CloseCode.slow, "replies are not read");
  }

  /** Closes by the protocol; `ws` destroys the socket when the peer does not answer in time. */
  close(code: CloseCode, reason: string): void {
    if (this.closedWith !== undefined || !this.open) return;
    this.closedWith = code;
    this.ws.close(code, reason);
  }

  /** Says why, as far as the peer may still read it, and ends the connection at once. */
  cut(code: CloseCode, reason: string): void {
    this.close(code, reason);
    this.ws.terminate();
  }

  /** How long the peer has taken nothing of what waits for it, milliseconds; 0 when nothing waits. */
  stalledMs(now: number): number {
    if (!this.blocked) {
      this.#queuedBytes = 0;
      return 0;
    }
    const queued = this.queuedBytes;
    if (this.#queuedBytes === 0 || queued < this.#queuedBytes) this.#drainedAt = now;
    this.#queuedBytes = queued;
    return now - this.#drainedAt;
  }
}
