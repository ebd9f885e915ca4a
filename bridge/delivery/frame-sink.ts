import type { Writable } from "node:stream";
import type { CloseCode } from "../../contract/codes.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";

/** A client's connection. It accepts whole WebSocket frames. */
export interface FrameSink {
  /** For log lines about the connection. */
  readonly names: { connection: string; user: string | undefined };
  /** The raw socket: a group writes one shared buffer to the sockets of all its members. */
  readonly socket: Pick<Writable, "write" | "writableLength">;
  /** False as soon as the client or the server has begun to close: no frame may follow a close frame. */
  readonly open: boolean;
  /** True from a write that the operating system accepted only in part, until the socket has drained. */
  readonly blocked: boolean;
  write(frames: Buffer): void;
  send(message: ServerMessage): void;
  close(code: CloseCode, reason: string): void;
}
