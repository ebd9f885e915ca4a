import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** Bytes of a TCP segment besides its data: IPv4 and TCP headers with the timestamps that Linux sends. */
const HEADER_BYTES = 52;
/** The most bytes of one segment on a link with an MTU of 1,500. */
const SEGMENT_BYTES = 1448;
/** Packets to open a connection (SYN, SYN-ACK, ACK) and to close it (two FINs and their ACKs). */
const OPENING_BYTES = 60 + 60 + 52;
const CLOSING_BYTES = 4 * HEADER_BYTES;

export interface Traffic {
  /** Bytes in both directions with TCP/IP headers and acknowledgements: what a SIM card is billed for. */
  billedBytes: number;
  /** Bytes of MQTT alone, in both directions. */
  payloadBytes: number;
  connections: number;
}

export interface MeteredLink {
  port: number;
  /** The traffic since the link was opened. */
  traffic(): Traffic;
  close(): Promise<void>;
}

/** A TCP proxy that counts bytes. It regards each read as one acknowledged segment. */
export async function openMeteredLink(target: number): Promise<MeteredLink> {
  const traffic: Traffic = { billedBytes: 0, payloadBytes: 0, connections: 0 };
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target, "127.0.0.1");
    traffic.connections++;
    traffic.billedBytes += OPENING_BYTES + CLOSING_BYTES;
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on("data", (bytes: Buffer) => {
        traffic.payloadBytes += bytes.length;
        traffic.billedBytes += bytes.length + Math.ceil(bytes.length / SEGMENT_BYTES) * 2 * HEADER_BYTES;
        to.write(bytes);
      });
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    traffic: () => ({ ...traffic }),
    async close() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
