import { createSecretKey } from "node:crypto";
import { createServer } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import jsonwebtoken from "jsonwebtoken";
import { Server } from "socket.io";

/**
 * A server as one would build it with Socket.IO alone: tokens checked at connect, one room, events sent to the room.
 * WebSocket only and without compression, its fastest setting. socket-io.ts starts it, with options in the environment.
 */
// A key object, because jsonwebtoken first parses a text as a public key, which takes most of the time.
const secret = createSecretKey(Buffer.from(process.env.JWT_SECRET ?? ""));
const recovery = process.env.RECOVERY === "1";

const http = createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(request.url === "/health" ? { connections: io.engine.clientsCount } : {}));
});
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  ...(recovery ? { connectionStateRecovery: { maxDisconnectionDuration: 120_000 } } : {}),
});

io.use((socket, next) => {
  try {
    const claims = jsonwebtoken.verify(String(socket.handshake.auth.token), secret, { algorithms: ["HS256"] });
    socket.data.userId = claims.sub;
    next();
  } catch {
    next(new Error("Invalid token"));
  }
});

io.on("connection", (socket) => {
  socket.on("subscribe", (channel: string, acknowledge: (result: { success: boolean }) => void) => {
    void socket.join(channel);
    acknowledge({ success: true });
  });
});

let position = 0;

/** Each event has the fields and the data bytes of an event of our dashboard. */
function emit(text: string): void {
  const { id, event, data, timestamp } = JSON.parse(text);
  const channel = "dashboard";
  io.to(channel).emit("dashboard_event", {
    event,
    data,
    timestamp,
    channel,
    position: ++position,
    id,
    camera: "bench",
  });
}

const feed = createTcpServer((socket: Socket) => {
  let bytes: Buffer = Buffer.alloc(0);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    let at = 0;
    while (bytes.length - at >= 4) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      emit(bytes.toString("utf8", at + 4, end));
      at = end;
    }
    bytes = bytes.subarray(at);
  });
});

function portOf(server: { address(): ReturnType<Socket["address"]> | string | null }): number {
  const address = server.address();
  return address !== null && typeof address === "object" && "port" in address ? address.port : 0;
}

http.listen(0, "127.0.0.1", () => {
  feed.listen(0, "127.0.0.1", () => {
    process.stdout.write(`ready ${portOf(http)} ${portOf(feed)}\n`);
  });
});
process.on("SIGTERM", () => process.exit());
