import { connect, type Socket } from "node:net";

/** One read buffer for all sockets. Reading is synchronous, so the buffer is immediately free again. */
const shared = Buffer.allocUnsafe(256 * 1024);

export interface RawConnectionOptions {
  port: number;
  /** The loopback source address, for some 28,000 connections to one server. Default: the system's choice. */
  localAddress?: string | undefined;
  onBytes: (bytes: Buffer) => number;
  onClose: (reason: string) => void;
}

/**
 * Opens a TCP connection without Node's streams. Streams would cost the load generator more than the measured work
 * costs the server.
 */
export async function openRaw({ port, localAddress, onBytes, onClose }: RawConnectionOptions): Promise<Socket> {
  let rest: Buffer | undefined;
  const callback = (length: number): boolean => {
    const piece = shared.subarray(0, length);
    const bytes = rest === undefined ? piece : Buffer.concat([rest, piece]);
    const used = onBytes(bytes);
    rest = used === bytes.length ? undefined : Buffer.from(bytes.subarray(used));
    return true;
  };
  let reason = "the server closed the connection";
  const socket = connect({
    port,
    host: "127.0.0.1",
    ...(localAddress === undefined ? {} : { localAddress }),
    noDelay: true,
    onread: { buffer: shared, callback },
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.on("error", (error) => {
    reason = error.message;
  });
  socket.on("close", () => onClose(reason));
  return socket;
}
