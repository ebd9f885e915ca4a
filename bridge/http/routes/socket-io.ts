import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { FastifyInstance } from "fastify";
import { WebSocketServer } from "ws";
import { RequestError } from "../errors.ts";
import { described, type RouteDescription } from "../route-description.ts";

/** The path of every Socket.IO client, for polling and for its WebSocket. */
export const SOCKET_IO_PATH = "/socket.io/";

/** ASCII only: the sentence is also the reason phrase of the response, which a browser prints to its console. */
const MESSAGE =
  "This server does not speak Socket.IO. Connect a WebSocket to /ws, or use the client library: see docs/migration.md";

const HANDSHAKE: RouteDescription = {
  ...{ group: "Web pages", summary: "Tells a Socket.IO client where to go" },
  responses: { 200: { is: "Packets of Engine.IO 4, with the sentence for `connect_error`", types: ["text/plain"] } },
  errors: ["410 socket_io"],
};

/** A client has this time to name its namespace. */
const SESSION_MS = 10_000;
const MAX_SESSIONS = 1_000;
const MAX_FRAME_BYTES = 16 * 1024;
/** A poll is answered after this pause, so that the namespace, which comes with another request, is known. */
const POLL_PAUSE_MS = 250;
const SEPARATOR = "\x1e";

/** The refusal of a connection to a namespace: a packet that gives the sentence to the handlers of `connect_error`. */
const refusal = (namespace: string) => `44${namespace}${JSON.stringify({ message: MESSAGE })}`;

/** Begins a connection of Engine.IO 4. */
function openPacket(sid: string): string {
  const waits = { pingInterval: SESSION_MS / 2, pingTimeout: SESSION_MS / 2 };
  return `0${JSON.stringify({ sid, upgrades: [], ...waits, maxPayload: MAX_FRAME_BYTES })}`;
}

/** The namespace in a packet CONNECT, with its comma; empty for the default one; undefined for another packet. */
function namespaceIn(packet: string): string | undefined {
  return /^40(\/[\w./-]{1,100},|(?!\/))/.exec(packet)?.[1];
}

function isVersion4(query: URLSearchParams, transport: string): boolean {
  return query.get("EIO") === "4" && query.get("transport") === transport;
}

/**
 * `GET` and `POST /socket.io/`. A client of Socket.IO 3 or later is connected and then refused by a packet: its
 * `connect_error` shows the text of such a packet, but not the text of an HTTP response. Other clients get 410.
 */
export async function socketIoRoutes(server: FastifyInstance): Promise<void> {
  /** The namespace of each polling client, once it is known. */
  const namespaces = new Map<string, string | undefined>();

  async function answer(method: string, sid: string | undefined, body: unknown): Promise<string | undefined> {
    if (sid === undefined) {
      if (method !== "GET" || namespaces.size >= MAX_SESSIONS) return undefined;
      const newSid = randomBytes(9).toString("base64url");
      namespaces.set(newSid, undefined);
      setTimeout(() => namespaces.delete(newSid), SESSION_MS).unref();
      return `${openPacket(newSid)}${SEPARATOR}${refusal("")}`;
    }
    if (!namespaces.has(sid)) return undefined;
    if (method === "POST") {
      const namespace = String(body).split(SEPARATOR).map(namespaceIn).find(Boolean);
      // A client of the default namespace was refused by the first response. Now 410 makes a browser print the
      // sentence.
      if (namespace === undefined) return undefined;
      namespaces.set(sid, namespace);
      return "ok";
    }
    await pause(POLL_PAUSE_MS);
    const namespace = namespaces.get(sid);
    return namespace === undefined ? "6" : refusal(namespace);
  }

  await server.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      "*",
      { parseAs: "string", bodyLimit: MAX_FRAME_BYTES },
      async (_: unknown, body: string) => body,
    );
    for (const method of ["GET", "POST"])
      scope.route({
        ...described(HANDSHAKE),
        ...{ method, url: SOCKET_IO_PATH },
        async handler({ url, body }, reply) {
          // A page of any origin can read the sentence.
          reply.header("access-control-allow-origin", "*");
          const query = queryOf(url);
          const text = isVersion4(query, "polling")
            ? await answer(method, query.get("sid") ?? undefined, body)
            : undefined;
          if (text !== undefined) return reply.type("text/plain; charset=UTF-8").send(text);
          reply.raw.statusMessage = MESSAGE;
          throw new RequestError(410, "socket_io", MESSAGE);
        },
      });
  });
}

/** Answers Socket.IO clients that ask for a WebSocket. */
export function createSocketIoRefusal() {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_FRAME_BYTES });
  return {
    handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
      if (!isVersion4(queryOf(request.url), "websocket")) {
        socket.end(refusedUpgrade(), () => socket.destroy());
        return;
      }
      sockets.handleUpgrade(request, socket, head, (client) => {
        const timer = setTimeout(() => client.terminate(), SESSION_MS);
        client.on("error", () => client.terminate());
        client.on("close", () => clearTimeout(timer));
        client.on("message", (packet) => {
          const namespace = namespaceIn(String(packet));
          if (namespace !== undefined) client.send(refusal(namespace), () => client.close());
        });
        client.send(openPacket(randomBytes(9).toString("base64url")));
      });
    },
    stop(): void {
      for (const client of sockets.clients) client.terminate();
    },
  };
}

function queryOf(url = ""): URLSearchParams {
  return new URLSearchParams(url.split("?")[1]);
}

function refusedUpgrade(): string {
  const body = JSON.stringify({ error: { code: "socket_io", message: MESSAGE } });
  const head = `Connection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `HTTP/1.1 410 ${MESSAGE}\r\n${head}\r\n\r\n${body}`;
}
