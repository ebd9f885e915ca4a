import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";

const KEY = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

export interface UpgradeOptions {
  path?: string;
  protocol?: string;
  headers?: readonly string[];
}

/** An upgrade request, byte for byte (RFC 6455 section 4.1). */
export function upgradeRequest({ path = "/ws", protocol, headers = [] }: UpgradeOptions = {}): Buffer {
  const lines = [
    `GET ${path} HTTP/1.1`,
    "Host: 127.0.0.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
    ...headers,
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
}

export const UPGRADE = upgradeRequest();

export interface FrameOptions {
  /** Default 1, text. */
  opcode?: number;
  /** Default true. */
  final?: boolean;
  /** RSV1 to RSV3, 0 to 7. Default 0. */
  reserved?: number;
  /** Default true, as clients must mask. */
  masked?: boolean;
  /** The length in the header. Default: the length of the payload. */
  claims?: number;
}

/** A frame, valid or not (RFC 6455 section 5.2). */
export function frame(payload: string | Buffer, options: FrameOptions = {}): Buffer {
  const { opcode = 1, final = true, reserved = 0, masked = true } = options;
  const body = Buffer.from(payload);
  const length = options.claims ?? body.length;
  const first = (final ? 0x80 : 0) | (reserved << 4) | opcode;
  const bit = masked ? 0x80 : 0;
  let header: Buffer;
  if (length < 126) header = Buffer.from([first, bit | length]);
  else if (length < 65_536) header = Buffer.from([first, bit | 126, length >> 8, length & 255]);
  else {
    header = Buffer.alloc(10);
    header.set([first, bit | 127]);
    header.writeBigUInt64BE(BigInt(length), 2);
  }
  if (!masked) return Buffer.concat([header, body]);
  return Buffer.concat([header, KEY, body.map((byte, index) => byte ^ (KEY[index & 3] ?? 0))]);
}

export interface RawWebSocket {
  socket: Socket;
  /** Everything received, beginning with the answer to the upgrade. */
  received(): Buffer;
  /** The server's close code once the connection has ended, or 1006 without a close code. */
  closed: Promise<number>;
  untilReceived(text: string): Promise<void>;
}

/** A WebSocket that sends only what the test writes. */
export async function rawWebSocket(port: number, options: UpgradeOptions = {}): Promise<RawWebSocket> {
  const socket = connect(port, "127.0.0.1");
  onTestFinished(() => {
    socket.destroy();
  });
  const chunks: Buffer[] = [];
  const watchers = new Set<() => void>();
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    for (const watch of [...watchers]) watch();
  });
  socket.on("error", () => {});
  const received = () => Buffer.concat(chunks);
  const ended = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const untilReceived = (text: string) =>
    new Promise<void>((resolve, reject) => {
      const watch = () => {
        if (!received().includes(text)) return;
        watchers.delete(watch);
        resolve();
      };
      watchers.add(watch);
      void ended.then(() => reject(new Error(`ended without "${text}": ${received()}`)));
      watch();
    });
  await once(socket, "connect");
  socket.write(upgradeRequest(options));
  await untilReceived("\r\n\r\n");
  return { socket, received, untilReceived, closed: ended.then(() => closeCodeOf(received())) };
}

/** The code of the server's close frame. Servers do not mask, and a close frame has at most 125 bytes. */
function closeCodeOf(bytes: Buffer): number {
  let at = bytes.indexOf("\r\n\r\n") + 4;
  while (at + 4 <= bytes.length) {
    const opcode = bytes.readUInt8(at) & 15;
    const short = bytes.readUInt8(at + 1) & 127;
    if (opcode === 8 && short >= 2) return bytes.readUInt16BE(at + 2);
    if (short === 126) at += 4 + bytes.readUInt16BE(at + 2);
    else if (short === 127) at += 10 + Number(bytes.readBigUInt64BE(at + 2));
    else at += 2 + short;
  }
  return 1006;
}
