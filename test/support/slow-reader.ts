import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import { PYTHON } from "./programs.ts";

/**
 * Node.js reads a socket as fast as data arrives, and keeps it: only another program reads slowly. The maximum segment
 * size and the small buffer are those of a slow link: the segments of the loopback device are 64 KB large, so that the
 * server's kernel would take megabytes for this connection.
 */
const PROGRAM = `
import select, socket, sys, time
port, rate, every, first, again = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5]
link = socket.socket()
link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
link.connect(("127.0.0.1", port))
link.sendall(bytes.fromhex(first))
total, due = 0, time.monotonic()
while True:
    due = max(due + every, time.monotonic())
    if rate > 0 or total == 0:
        piece = link.recv(rate or 65536)
        if not piece: break
        total += len(piece)
    print(total, flush=True)
    time.sleep(max(0, due - time.monotonic()))
    link.sendall(bytes.fromhex(again))
`;

interface SlowReaderOptions {
  /** The bytes that the client sends when it is connected. */
  first: Buffer;
  /** The bytes that the client sends after each read. */
  again?: Buffer;
  /** 0: the client reads once, and then nothing. */
  bytesPerSecond: number;
}

/** A client that reads at most this fast, ten times a second. */
export class SlowReader {
  /** Bytes read so far. */
  received = 0;
  /** Whether the server has closed the connection. */
  isClosed = false;
  readonly closed: Promise<unknown>;

  constructor(port: number, { first, again = Buffer.alloc(0), bytesPerSecond }: SlowReaderOptions) {
    const script = [port, Math.ceil(bytesPerSecond / 10), 0.1, first.toString("hex"), again.toString("hex")];
    const stdio = ["ignore", "pipe", "ignore"] as const;
    const program = spawn(PYTHON, ["-c", PROGRAM, ...script.map(String)], { stdio: [...stdio] });
    this.closed = once(program, "exit");
    program.once("exit", () => {
      this.isClosed = true;
    });
    onTestFinished(async () => {
      program.kill("SIGKILL");
      await this.closed;
    });
    createInterface({ input: program.stdout }).on("line", (line) => {
      this.received = Number(line);
    });
  }
}

/** The opening request of a WebSocket. */
export function upgradeRequest(path: string, headers: Record<string, string> = {}): Buffer {
  const all = {
    ...{ host: "127.0.0.1", connection: "Upgrade", upgrade: "websocket" },
    ...{ "sec-websocket-version": "13", "sec-websocket-key": Buffer.alloc(16).toString("base64"), ...headers },
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return Buffer.from(`GET ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
}

/** A frame of a client, with a mask of zeros. */
export function clientFrame(payload: Buffer, isText = false): Buffer {
  const { length } = payload;
  const size = length < 126 ? [0x80 | length] : [0xfe, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([isText ? 0x81 : 0x82, ...size, 0, 0, 0, 0]), payload]);
}
