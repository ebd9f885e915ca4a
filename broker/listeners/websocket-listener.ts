import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createWebSocketStream, type WebSocket, WebSocketServer } from "ws";
import type { Origins } from "../../platform/origins.ts";

/** The names of MQTT 3.1.1 and MQTT 3.1 in `Sec-WebSocket-Protocol`. */
const SUBPROTOCOLS = ["mqtt", "mqttv3.1"];
/** Close code of RFC 6455 for data of a type that cannot be accepted. */
const UNSUPPORTED_DATA = 1003;
/**
 * Fragments of one message. Each fragment takes more memory than its bytes. Real clients send unfragmented messages.
 */
const MAX_FRAGMENTS = 1024;
/**
 * The longest interval at which Node.js checks its timeouts. With the default of 30 s, a shorter timeout would have no
 * effect.
 */
const MAX_CHECK_INTERVAL_MS = 1000;

interface WebSocketListenerOptions {
  origins: Pick<Origins, "allows" | "noteRefusal">;
  maxMessageBytes: number;
  connectTimeoutMs: number;
  /** Called with the raw socket of each connection. Closes the socket and returns false to refuse it. */
  admit(socket: Socket): boolean;
  /** False refuses the upgrade request, whose headers may name the client behind a proxy. */
  admitRequest(request: IncomingMessage): boolean;
  /** @param ping sends a WebSocket ping, which WebSocket clients answer automatically */
  onConnection(connection: Duplex, request: IncomingMessage, ping: () => void): void;
}

/**
 * MQTT over WebSocket: an HTTP server that only handles upgrades. It does not use websocket-stream, which applies no
 * backpressure to a fast sender (websocket-stream buffered 721 MB in 5 s, this listener 32 MB).
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
  // Node.js drops headers after the 2,000th by default, perhaps the header in which a proxy names the client.
  server.maxHeadersCount = 0;
  server.on("connection", (socket) => admit(socket));
  server.on("request", (_request, response) => {
    response.writeHead(426, { connection: "close", upgrade: "websocket", "content-type": "text/plain; charset=utf-8" });
    response.end("This is MQTT over WebSocket: connect with an MQTT client.\n");
  });
  server.on("upgrade", (request, duplex, head) => {
    // Without this listener, a connection reset of a refused socket would crash the process.
    duplex.on("error", () => duplex.destroy());
    const isAllowed = origins.allows(request);
    if (!isAllowed) origins.noteRefusal(request);
    const refusal = refusalOf(request, isAllowed) ?? (admitRequest(request) ? undefined : "429 Too Many Requests");
    if (refusal !== undefined) {
      duplex.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => duplex.destroy());
      return;
    }
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
    // A packet is written in up to six parts. When the parts are joined, they need only one frame and one system call.
    writev: (parts, done) => {
      const chunks = parts.map(({ chunk }) => chunk);
      webSocket.send(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks), done);
    },
  });
}
