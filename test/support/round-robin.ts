import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A TCP load balancer for several nodes: each connection goes to the next node that accepts it. */
export interface RoundRobin {
  port: number;
  /** The target ports of 127.0.0.1 for new connections. Does not affect open connections. */
  setTargets(ports: readonly number[]): void;
  stop(): Promise<void>;
}

export async function startRoundRobin(): Promise<RoundRobin> {
  let targets: readonly number[] = [];
  let turn = 0;
  const sockets = new Set<Socket>();

  function track(socket: Socket): Socket {
    sockets.add(socket);
    // A `close` event follows every error, and a load balancer does not need the reason.
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    return socket;
  }

  function bring(client: Socket, attempts: number): void {
    const port = targets[turn++ % targets.length];
    if (port === undefined || attempts === 0) {
      client.destroy();
      return;
    }
    const node = track(connect({ port, host: "127.0.0.1", noDelay: true }));
    const failed = () => bring(client, attempts - 1);
    node.once("error", failed);
    node.once("connect", () => {
      node.off("error", failed);
      node.on("close", () => client.destroy());
      client.on("close", () => node.destroy());
      client.pipe(node).pipe(client);
    });
  }

  const server = createServer({ noDelay: true }, (client) => bring(track(client), targets.length));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    setTargets(ports) {
      targets = ports;
    },
    async stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, "close");
    },
  };
}
