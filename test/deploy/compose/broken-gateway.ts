import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { WebSocket, WebSocketServer } from "ws";

/** Changes a request before it reaches the server, or answers it itself and returns true. */
export type Fault = (request: IncomingMessage, response: ServerResponse) => boolean;

/** The handling of a WebSocket. By default, the gateway passes the WebSocket on to the server. */
export type SocketFault = "refuses" | "accepts everything and sends twice" | "accepts everything and sends nothing";

export interface Gateway {
  url: string;
  close(): Promise<void>;
}

/** A reverse proxy in front of a real server, with faults. Requests that no fault answers are passed on. */
export async function openGateway(
  target: string,
  { faults = [], sockets }: { faults?: readonly Fault[]; sockets?: SocketFault } = {},
): Promise<Gateway> {
  const gullible = new WebSocketServer({ noServer: true });
  gullible.on("connection", answerEverything);
  const server = createServer((request, response) => {
    if (faults.some((fault) => fault(request, response))) return;
    if (request.url === "/broadcast" && sockets === "accepts everything and sends twice") sendTwice(request, gullible);
    const { method, url, headers } = request;
    const passed = httpRequest(new URL(target), { method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    request.pipe(passed);
  });
  server.on("upgrade", (request, socket, head) => {
    if (sockets === "refuses") socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    else gullible.handleUpgrade(request, socket, head, (opened) => gullible.emit("connection", opened));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const client of gullible.clients) client.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function answerEverything(socket: WebSocket): void {
  socket.on("message", (data) => {
    const { type, channel } = JSON.parse(String(data));
    const answers =
      type === "auth"
        ? [{ type: "auth_success" }]
        : [
            { type: "subscription_result", channel, success: true },
            { type: "caught_up", channel },
          ];
    for (const answer of answers) socket.send(JSON.stringify(answer));
  });
}

function sendTwice(request: IncomingMessage, gullible: WebSocketServer): void {
  let body = "";
  request.on("data", (chunk) => {
    body += chunk;
  });
  request.on("end", () => {
    const { message } = JSON.parse(body);
    for (const client of gullible.clients)
      for (const _ of [1, 2])
        if (client.readyState === WebSocket.OPEN)
          client.send(JSON.stringify({ type: "dashboard_event", position: 1, ...message }));
  });
}

/** A server that answers every MQTT CONNECT with this code. */
export async function openMqttStub(code: number): Promise<Gateway> {
  const server = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end(Buffer.from([32, 2, 0, code])));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.close();
      await once(server, "close");
    },
  };
}

/** Answers requests of these paths. */
export function answers(paths: string | readonly string[], status: number, body: unknown = {}): Fault {
  return ({ url = "", headers }, response) => {
    if (![paths].flat().includes(url)) return false;
    // The answer comes before the client has sent a large body: the connection must stay open until then.
    if (headers["content-length"] !== undefined) response.shouldKeepAlive = false;
    response.writeHead(status, { "content-type": typeof body === "string" ? "text/plain" : "application/json" });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
    return true;
  };
}

/** Gives each meant request the operator key, whatever key or token the request had. */
export function trusts(key: string, isMeant: (request: IncomingMessage) => boolean): Fault {
  return (request) => {
    if (isMeant(request)) {
      request.headers.authorization = `Bearer ${key}`;
      delete request.headers["x-forwarded-for"];
    }
    return false;
  };
}
