import type { Writable } from "node:stream";
import type { CloseCode } from "../../contract/codes.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";

/** A client's connection, as delivery sees it: it accepts whole WebSocket frames. */
export interface FrameSink {
  /** The connection's id, for the log. */
  readonly id: string;
  /** The raw socket. A group writes one shared buffer to the sockets of all its members. */
  readonly socket: Pick<Writable, "write" | "writableLength">;
  /** False as soon as either side has begun to close: no frame may follow a close frame. */
  readonly open: boolean;
  /** True after a write that the operating system accepted only in part, until the socket has drained. */
  readonly blocked: boolean;
  /** @param frames whole frames only */
  write(frames: Buffer): void;
  send(message: ServerMessage): void;
  close(code: CloseCode, reason: string): void;
}
