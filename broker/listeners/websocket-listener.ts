import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";
import type { Origins } from "../../platform/origins.ts";

/** The names of MQTT 3.1.1 and MQTT 3.1 in `Sec-WebSocket-Protocol`. */
const SUBPROTOCOLS = ["mqtt", "mqttv3.1"];
/** Close code of RFC 6455: the endpoint received data of a type that it cannot accept. */
const UNSUPPORTED_DATA = 1003;
/** Fragments of one message. Each takes more memory than its bytes, and real clients send unfragmented messages. */
const MAX_FRAGMENTS = 1024;
/** Node.js checks its timeouts at least this often: its default of 30 s would make the timeout ineffective. */
const MAX_CHECK_INTERVAL_MS = 1000;

interface WebSocketListenerOptions {
  /** The origins whose pages may connect. */
  origins: Pick<Origins, "allows" | "noteRefusal">;
  /** The largest WebSocket message, bytes. */
  maxMessageBytes: number;
  connectTimeoutMs: number;
  /** Called with the raw socket of each connection. It has closed the socket when it returns false. */
  admit(socket: Socket): boolean;
  /** Called with the upgrade request, whose headers may name the client behind a proxy. False refuses the request. */
  admitRequest(request: IncomingMessage): boolean;
  /** @param ping sends a WebSocket ping, which WebSocket clients answer automatically */
  onConnection(connection: Duplex, request: IncomingMessage, ping: () => void): void;
}

/**
 * MQTT over WebSocket: an HTTP server that only handles upgrades. It uses ws directly, because websocket-stream applies
 * no backpressure to a client that sends faster than the broker reads (it buffered 721 MB in 5 s, this listener 32 MB).
 */
export function createWebSocketListener(options: WebSocketListenerOptions): Server {
  const { origins, maxMessageBytes, connectTimeoutMs, admit, admitRequest, onConnection } = options;
  const upgrades = new WebSocketServer({
    noServer: true,
    // A compressed frame of a few bytes could decompress to megabytes.
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
  // By default Node.js drops headers after the 2,000th. One of them could be the header in which a proxy names the
  // client.
  server.maxHeadersCount = 0;
  server.on("connection", (socket) => admit(socket));
  server.on("request", (_request, response) => {
    response.writeHead(426, { connection: "close", upgrade: "websocket", "content-type": "text/plain; charset=utf-8" });
    response.end("This is MQTT over WebSocket: connect with an MQTT client.\n");
  });
  server.on("upgrade", (request, duplex, head) => {
    // No other listener handles errors of a refused socket. A connection reset would crash the process.
    duplex.on("error", () => duplex.destroy());
    const isAllowed = origins.allows(request);
    if (!isAllowed) origins.noteRefusal(request);
    const refusal = refusalOf(request, isAllowed) ?? (admitRequest(request) ? undefined : "429 Too Many Requests");
    if (refusal !== undefined) {
      duplex.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => duplex.destroy());
      return;
    }
    // `duplex` is this socket. Its type also allows other streams.
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
    if (!isBinary) webSocket.close(UNSUPPORTED_DATA, "MQTT requires binary frames");
  });
  return createWebSocketStream(webSocket, {
    // A packet is written in up to six parts. Joined, they need one frame and one system call.
    writev: (parts, done) => {
      const chunks = parts.map(({ chunk }) => chunk);
      webSocket.send(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks), done);
    },
  });
}
