import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";
import type { Origins } from "../../platform/origins.ts";

/** Names of MQTT 3.1.1 and of 3.1 in `Sec-WebSocket-Protocol`. */
const SUBPROTOCOLS = ["mqtt", "mqttv3.1"];
/** RFC 6455: the endpoint received data of a type it cannot accept. */
const UNSUPPORTED_DATA = 1003;
/** Pieces of one message: each costs more memory than its bytes, and clients send whole messages. */
const MAX_FRAGMENTS = 1024;
/** A look for idle connections at least this often; Node's default of 30 s would make the time-out useless. */
const MAX_CHECK_INTERVAL_MS = 1000;

interface WebSocketListenerOptions {
  /** Whose pages may connect. */
  origins: Pick<Origins, "allows" | "noteRefusal">;
  /** The largest WebSocket message, bytes. */
  maxMessageBytes: number;
  connectTimeoutMs: number;
  /** Called with the raw socket; false ends it. */
  admit(socket: Socket): boolean;
  /** Called with the upgrade, which may say on whose behalf it comes; false refuses it. */
  admitRequest(request: IncomingMessage): boolean;
  /** @param ping sends a WebSocket ping, which clients answer by themselves */
  onConnection(connection: Duplex, request: IncomingMessage, ping: () => void): void;
}

/**
 * MQTT over WebSocket: an HTTP server that knows nothing but the upgrade. Built on ws itself, for websocket-stream does
 * not hold back a client that sends faster than the broker takes it (721 MB accepted in 5 s, where this took 32).
 */
export function createWebSocketListener(options: WebSocketListenerOptions): Server {
  const { origins, maxMessageBytes, connectTimeoutMs, admit, admitRequest, onConnection } = options;
  const upgrades = new WebSocketServer({
    noServer: true,
    // Compressed, a frame of a few bytes could become one of megabytes.
    perMessageDeflate: false,
    maxFragments: MAX_FRAGMENTS,
    maxPayload: Number.isFinite(maxMessageBytes) ? maxMessageBytes : 0,
    handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
  });
  const server = createServer({
    headersTimeout: connectTimeoutMs,
    requestTimeout: connectTimeoutMs,
    connectionsCheckingInterval: Math.min(connectTimeoutMs, MAX_CHECK_INTERVAL_MS),
  });
  // Of more than 2,000 headers Node.js would leave out the last, such as the one that names for whom a proxy asks.
  server.maxHeadersCount = 0;
  server.on("connection", (socket) => admit(socket));
  server.on("request", (_request, response) => {
    response.writeHead(426, { connection: "close", upgrade: "websocket", "content-type": "text/plain; charset=utf-8" });
    response.end("This is MQTT over WebSocket: connect with an MQTT client.\n");
  });
  server.on("upgrade", (request, duplex, head) => {
    // Nobody else listens for errors of a socket that is refused; a reset must not end the program.
    duplex.on("error", () => duplex.destroy());
    const isAllowed = origins.allows(request);
    if (!isAllowed) origins.noteRefusal(request);
    const refusal = refusalOf(request, isAllowed) ?? (admitRequest(request) ? undefined : "429 Too Many Requests");
    if (refusal !== undefined) {
      duplex.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => duplex.destroy());
      return;
    }
    // Node hands over the socket of the connection; the type of `duplex` allows for others.
    request.socket.setNoDelay(true);
    upgrades.handleUpgrade(request, duplex, head, (webSocket) => {
      onConnection(streamOf(webSocket), request, () => webSocket.ping());
    });
  });
  return server;
}

function refusalOf({ headers }: IncomingMessage, originIsAllowed: boolean): string | undefined {
  if (!originIsAllowed) return "403 Forbidden";
  const offered = headers["sec-websocket-protocol"]?.split(",").map((name) => name.trim()) ?? [];
  // [MQTT-6.0.0-3]
  return SUBPROTOCOLS.some((name) => offered.includes(name)) ? undefined : "400 Bad Request";
}

function streamOf(webSocket: WebSocket): Duplex {
  // [MQTT-6.0.0-1]
  webSocket.on("message", (_data, isBinary) => {
    if (!isBinary) webSocket.close(UNSUPPORTED_DATA, "MQTT is binary");
  });
  return createWebSocketStream(webSocket, {
    // A packet is written in up to six parts; together they are one frame and one system call.
    writev: (parts, done) => {
      const chunks = parts.map(({ chunk }) => chunk);
      webSocket.send(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks), done);
    },
  });
}
