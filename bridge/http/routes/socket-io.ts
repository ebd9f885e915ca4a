import type { FastifyInstance } from "fastify";
import { RequestError } from "../errors.ts";
import { described, type RouteDescription } from "../route-description.ts";

/** The path of every Socket.IO client, for polling and for its WebSocket. */
export const SOCKET_IO_PATH = "/socket.io/";

/** ASCII only: the sentence is also the reason phrase of the response, which a browser prints to its console. */
const MESSAGE =
  "This server does not speak Socket.IO. Connect a WebSocket to /ws, or use the client library: see docs/migration.md";

const POLL: RouteDescription = {
  ...{ group: "Web pages", summary: "Tells a Socket.IO client where to go" },
  ...{ responses: {}, errors: ["410 socket_io"] },
};

/** `GET` and `POST /socket.io/`: 410 for clients of a Socket.IO server. */
export function socketIoRoutes(server: FastifyInstance): void {
  for (const method of ["GET", "POST"])
    server.route({
      ...described(POLL),
      ...{ method, url: SOCKET_IO_PATH },
      async handler(_request, reply) {
        reply.raw.statusMessage = MESSAGE;
        // A page of any origin can read the message.
        reply.header("access-control-allow-origin", "*");
        throw new RequestError(410, "socket_io", MESSAGE);
      },
    });
}

/** The response to a Socket.IO client that asks for a WebSocket. */
export function socketIoRefusal(): string {
  const body = JSON.stringify({ error: { code: "socket_io", message: MESSAGE } });
  const head = `Connection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `HTTP/1.1 410 ${MESSAGE}\r\n${head}\r\n\r\n${body}`;
}
