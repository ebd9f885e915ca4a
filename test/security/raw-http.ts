import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { onTestFinished } from "vitest";

export interface RawHttp {
  socket: Socket;
  /** Everything received so far. */
  received(): string;
  /** Resolves with everything received once the connection has ended, for whatever reason. */
  ended: Promise<string>;
}

/** A TCP connection that sends any bytes, even bytes that no HTTP client sends. Closed at the end of the test. */
export async function rawHttp(port: number, bytes: string | Buffer, localAddress = "127.0.0.1"): Promise<RawHttp> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  onTestFinished(() => {
    socket.destroy();
  });
  let received = "";
  socket.setEncoding("latin1").on("data", (text: string) => {
    received += text;
  });
  socket.on("error", () => {});
  const ended = new Promise<string>((resolve) => socket.once("close", () => resolve(received)));
  await once(socket, "connect");
  socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  return { socket, received: () => received, ended };
}

/** The status of each answer, in order. */
export function statusesOf(received: string): number[] {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

export function lines(...texts: string[]): string {
  return `${texts.join("\r\n")}\r\n\r\n`;
}
