import { type EventServer, healthConnections, startNodeServer } from "./server.ts";
import { JWT_SECRET, viewerTokens } from "./tokens.ts";

export interface SocketIoOptions {
  /** Whether to keep events and sessions in memory for resuming clients. Default false, as in Socket.IO. */
  recovery?: boolean;
  profileTo?: string | undefined;
}

export async function startSocketIo({ recovery = false, profileTo }: SocketIoOptions = {}): Promise<EventServer> {
  const server = await startNodeServer({
    program: new URL("./socket-io-server.js", import.meta.url),
    env: { JWT_SECRET, RECOVERY: recovery ? "1" : "0" },
    ready: /^ready \d+ \d+$/m,
    profileTo,
  });
  const [, port = "", feedPort = ""] = /^ready (\d+) (\d+)$/m.exec(server.output) ?? [];
  return {
    name: "Socket.IO",
    dialect: "socket-io",
    port: Number(port),
    cpuSeconds: server.cpuSeconds,
    memory: server.memory,
    connections: () => healthConnections(Number(port)),
    tokens: viewerTokens,
    feed: (payloadBytes) => ({ kind: "socket-io", port: Number(feedPort), payloadBytes }),
    stop: server.stop,
  };
}
