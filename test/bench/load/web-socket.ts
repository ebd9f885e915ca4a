import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { openRaw } from "./raw-connection.ts";

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const HEAD_END = Buffer.from("\r\n\r\n");

export interface LeanWebSocketOptions {
  port: number;
  path: string;
  localAddress?: string | undefined;
  /** The text is between `start` and `end`. The buffer is valid only during the call. */
  onText: (buffer: Buffer, start: number, end: number) => void;
  /** Called when the connection ends without {@link LeanWebSocket.destroy}. */
  onClose: (reason: string) => void;
}

/** A minimal WebSocket client (RFC 6455) for load generators: whole text frames, pings, close. */
export class LeanWebSocket {
  readonly #options: LeanWebSocketOptions;
  #socket: Socket | undefined;
  #upgraded: ((error?: Error) => void) | undefined;
  #destroyed = false;
  #closeReason: string | undefined;

  constructor(options: LeanWebSocketOptions) {
    this.#options = options;
  }

  /** Resolves when the server has accepted the upgrade. */
  async open(): Promise<void> {
    const { port, path, localAddress } = this.#options;
    const socket = await openRaw({
      port,
      localAddress,
      onBytes: (bytes) => this.#read(bytes),
      onClose: (reason) => this.#closed(reason),
    });
    this.#socket = socket;
    const key = randomBytes(16).toString("base64");
    await new Promise<void>((resolve, reject) => {
      this.#upgraded = (error) => (error === undefined ? resolve() : reject(error));
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      );
    });
    this.#upgraded = undefined;
  }

  send(text: string): void {
    this.#socket?.write(frame(TEXT, Buffer.from(text)));
  }

  /** Stops reading until {@link resume}: data fills the system's buffers, then the server's buffers. */
  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /** Ends the connection without a close frame, like a lost link. */
  destroy(): void {
    this.#destroyed = true;
    this.#socket?.destroy();
  }

  #closed(reason: string): void {
    const why = this.#closeReason ?? reason;
    this.#upgraded?.(new Error(`no WebSocket upgrade: ${why}`));
    if (!this.#destroyed) this.#options.onClose(why);
  }

  #read(bytes: Buffer): number {
    let at = 0;
    if (this.#upgraded !== undefined) {
      const end = bytes.indexOf(HEAD_END);
      if (end === -1) return 0;
      const status = bytes.toString("latin1", 0, bytes.indexOf("\r\n"));
      const refused = !status.startsWith("HTTP/1.1 101");
      this.#upgraded(refused ? new Error(`no WebSocket upgrade: ${status}`) : undefined);
      this.#upgraded = undefined;
      if (refused) return bytes.length;
      at = end + HEAD_END.length;
    }
    while (bytes.length - at >= 2) {
      let start = at + 2;
      let length = (bytes[at + 1] ?? 0) & 0x7f;
      if (length === 126) {
        if (bytes.length < start + 2) break;
        length = bytes.readUInt16BE(start);
        start += 2;
      } else if (length === 127) {
        if (bytes.length < start + 8) break;
        length = Number(bytes.readBigUInt64BE(start));
        start += 8;
      }
      const end = start + length;
      if (end > bytes.length) break;
      this.#frame(bytes, bytes[at] ?? 0, start, end);
      at = end;
    }
    return at;
  }

  #frame(bytes: Buffer, first: number, start: number, end: number): void {
    if (first === 0x80 + TEXT) this.#options.onText(bytes, start, end);
    else if (first === 0x80 + PING) this.#socket?.write(frame(PONG, bytes.subarray(start, end)));
    else if (first === 0x80 + CLOSE)
      this.#closeReason = `the server closed with ${end - start >= 2 ? bytes.readUInt16BE(start) : "no code"} ${bytes.toString("utf8", start + 2, end)}`;
    else if (first !== 0x80 + PONG) this.#closeReason = `a frame that the load generator does not read: ${first}`;
  }
}

/** A client's frame. RFC 6455, 5.3 requires a mask. A mask of zeros changes nothing, which is safe on loopback. */
function frame(opcode: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = length < 126 ? [0x80 + length] : [0x80 + 126, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([0x80 + opcode, ...head, 0, 0, 0, 0]), payload]);
}
