import { connect } from "node:net";

export interface Delivery {
  port: number;
  /** Sent in order. The next step is sent once the answer to a step contains the `until` of that step. */
  steps: readonly { bytes: Buffer; until?: string | Buffer }[];
}

/** How long the last answer may take before the client ends its side, in case the server waits for more bytes. */
const MORE_TO_COME_MS = 25;
/** How long the server may keep the connection open after the client has ended its side. */
const END_TIMEOUT_MS = 60_000;

/**
 * Sends the steps on a new connection, ends the client's side, and resolves once the server has ended its side.
 * Rejects at a timeout, which means that something holds the connection open for ever.
 * @returns whether the last step was sent
 */
export function deliver({ port, steps }: Delivery): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" });
    const left = [...steps];
    let waitsFor: string | Buffer | undefined;
    let received = Buffer.alloc(0);
    let patience: NodeJS.Timeout | undefined;
    const deadline = setTimeout(() => {
      reject(new Error(`the connection was still open ${END_TIMEOUT_MS} ms after its peer had ended it`));
      socket.destroy();
    }, END_TIMEOUT_MS);
    const next = (): void => {
      clearTimeout(patience);
      const step = left.shift();
      if (step === undefined) {
        socket.end();
        return;
      }
      waitsFor = step.until;
      socket.write(step.bytes);
      if (waitsFor === undefined) next();
      else if (left.length === 0) patience = setTimeout(() => socket.end(), MORE_TO_COME_MS);
    };
    socket.once("connect", next);
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (waitsFor === undefined || !received.includes(waitsFor)) return;
      received = Buffer.alloc(0);
      waitsFor = undefined;
      next();
    });
    socket.on("error", () => {});
    socket.once("close", () => {
      clearTimeout(patience);
      clearTimeout(deadline);
      resolve(left.length === 0);
    });
  });
}
