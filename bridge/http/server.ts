import { randomUUID } from "node:crypto";
import { lookup } from "node:dns/promises";
import type { IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { Origins } from "../../platform/origins.ts";
import type { ForwardingWatch } from "../../platform/untrusted-proxies.ts";
import { malformedResponse, respondToErrors } from "./error-responses.ts";
import { RequestError, toHttp } from "./errors.ts";
import { HistoryTurns } from "./history-turns.ts";
import { protect } from "./protection.ts";
import { isForKnownOnly, MAX_PARAM_LENGTH, readBodiesAsJson } from "./request-body.ts";
import { collectDescriptions, described, type RouteDescription } from "./route-description.ts";
import { collectRouteMethods } from "./route-methods.ts";
import { alertNoteRoutes } from "./routes/alert-notes.ts";
import { apiDocumentRoutes } from "./routes/api-documents.ts";
import { archiveRoutes } from "./routes/archive.ts";
import { auditRoutes } from "./routes/audit.ts";
import { authRoutes } from "./routes/auth.ts";
import { broadcastRoutes } from "./routes/broadcast.ts";
import { cameraGroupRoutes } from "./routes/camera-groups.ts";
import { cameraRecordRoutes } from "./routes/camera-records.ts";
import { cameraRoutes } from "./routes/cameras.ts";
import { clockRoutes } from "./routes/clock.ts";
import { commandRoutes } from "./routes/commands.ts";
import { connectionRoutes } from "./routes/connections.ts";
import { desiredRoutes } from "./routes/desired.ts";
import { deviceRoutes } from "./routes/devices.ts";
import { eventTraceRoutes } from "./routes/event-trace.ts";
import { filmRoutes } from "./routes/films.ts";
import { healthRoutes } from "./routes/health.ts";
import { integrationRoutes } from "./routes/integrations.ts";
import { logLevelRoutes } from "./routes/log-level.ts";
import { metricsRoutes, serveMetrics } from "./routes/metrics.ts";
import { originRoutes } from "./routes/origins.ts";
import { ownAccountRoutes } from "./routes/own-account.ts";
import { pageRoutes } from "./routes/page.ts";
import { previewRoutes } from "./routes/previews.ts";
import { proxyCheckRoutes } from "./routes/proxy-check.ts";
import { seriesRoutes } from "./routes/series.ts";
import { setupRoutes } from "./routes/setup.ts";
import { signInRoutes } from "./routes/sign-in.ts";
import { createSocketIoRefusal, SOCKET_IO_PATH, socketIoRoutes } from "./routes/socket-io.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { userRoutes } from "./routes/users.ts";
import type { Services } from "./services.ts";

interface HttpServerOptions {
  host: string;
  port: number;
  origins: Origins;
  pagePath: string | undefined;
  forwarding: Pick<ForwardingWatch, "check">;
  /** Called for each connection before anything is stored for it. Destroys a refused connection. */
  admit: (socket: Socket) => boolean;
  handleUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  services: Services;
}

const SOCKET_PATH = "/ws";
const SOCKET: RouteDescription = {
  ...{ group: "Web pages", summary: "Becomes a WebSocket: see `/asyncapi.yaml`" },
  responses: { 101: { is: "The WebSocket is open" } },
  errors: ["403 permission_denied", "426 upgrade_required", "503 unavailable"],
};
const STOP_TIMEOUT_MS = 1000;
/** A connection without traffic is closed after these milliseconds, which must exceed the 60 s wait for a command. */
const IDLE_TIMEOUT_MS = 120_000;
const NO_UPGRADE_HERE = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

export async function startHttpServer(options: HttpServerOptions) {
  const { host, port, services, origins } = options;
  const { stats } = services;
  const server = createServer(services);
  const routeMethods = collectRouteMethods(server);
  const descriptions = collectDescriptions(server);
  server.addHook("onRequest", async ({ id }, reply) => void reply.header("x-request-id", id));
  await protect(server, { ...services, origins });
  // Runs after the rate limits, so requests that make the server fetch the identity provider's keys are counted.
  server.addHook("preParsing", async (request) => {
    if (!request.is404) await services.callers.prepare(request);
    // A large body costs memory only after its sender is authenticated. The route authorizes the caller.
    if (isForKnownOnly(request)) services.callers.orLocal(request);
  });
  server.addHook("onRequest", async ({ raw }) => options.forwarding.check(raw));
  readBodiesAsJson(server);
  respondToErrors(server, services, routeMethods);
  server.addHook("onResponse", async (_request, reply) => {
    stats.add("http_requests");
    if (reply.statusCode >= 400) stats.add("http_refused");
  });

  alertNoteRoutes(server, services);
  apiDocumentRoutes(server, services, descriptions);
  const historyTurns = new HistoryTurns();
  archiveRoutes(server, services, historyTurns);
  auditRoutes(server, services);
  authRoutes(server, services);
  broadcastRoutes(server, services);
  cameraGroupRoutes(server, services);
  cameraRecordRoutes(server, services);
  cameraRoutes(server, services);
  clockRoutes(server, services);
  commandRoutes(server, services);
  connectionRoutes(server, services);
  desiredRoutes(server, services);
  deviceRoutes(server, services);
  integrationRoutes(server, services);
  eventTraceRoutes(server, services);
  filmRoutes(server, services);
  healthRoutes(server, services);
  logLevelRoutes(server, services);
  metricsRoutes(server, services);
  originRoutes(server, origins);
  ownAccountRoutes(server, services);
  previewRoutes(server, services);
  seriesRoutes(server, services, historyTurns);
  proxyCheckRoutes(server, { ...services, origins });
  setupRoutes(server, services);
  signInRoutes(server, services);
  await socketIoRoutes(server);
  tokenRoutes(server, services);
  userRoutes(server, services);
  await pageRoutes(server, options.pagePath);
  acceptWebSockets(server, options);

  const { metricsAddress, metricsToken } = services.http;
  let metricsServer: Awaited<ReturnType<typeof serveMetrics>> | undefined;
  try {
    if (metricsAddress !== undefined)
      metricsServer = await orListenError(
        { ...metricsAddress, variables: ["METRICS_HOST", "METRICS_PORT"] },
        serveMetrics({ ...metricsAddress, token: metricsToken }, services.metrics),
      );
    await orListenError({ host, port, variables: ["HOST", "WS_PORT"] }, listen(server, host, port));
  } catch (error) {
    await metricsServer?.stop();
    throw error;
  }
  let stopping: Promise<void> | undefined;
  return {
    ...boundAddress(server),
    /** The bound METRICS_PORT; undefined without one. */
    metricsPort: metricsServer?.port,
    /** Stops accepting. Requests under way have {@link STOP_TIMEOUT_MS} to finish. */
    stop() {
      stopping ??= Promise.all([stop(server), metricsServer?.stop()]).then(() => undefined);
      return stopping;
    },
  };
}

function createServer({ http, logger }: Services): FastifyInstance {
  const loggerInstance: FastifyBaseLogger = logger;
  const server: FastifyInstance = Fastify({
    loggerInstance,
    // Unique over all nodes and starts, because the caller is told the id.
    genReqId: () => randomUUID(),
    // The error handler logs errors. A line for each request would hide them.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: Math.min(http.maxBodyBytes, Number.MAX_SAFE_INTEGER),
    // A defence against clients that send a byte a minute to keep many sockets open (slowloris).
    requestTimeout: http.requestTimeoutMs,
    http: { headersTimeout: http.requestTimeoutMs, connectionsCheckingInterval: Math.min(http.requestTimeoutMs, 5000) },
    connectionTimeout: IDLE_TIMEOUT_MS,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    clientErrorHandler: ({ code }, socket) => {
      if (code === "ECONNRESET" || socket.destroyed || !socket.writable) return;
      socket.end(malformedResponse(code), () => socket.destroy());
    },
    // Paths that cannot be decoded never reach the error handler.
    frameworkErrors: (error, _request, reply) => {
      const { statusCode, body } = toHttp(error);
      reply.raw.writeHead(statusCode, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(body));
    },
  });
  // Above 2,000 headers, Node.js would drop the last ones, which may include the client's address from a proxy. Another
  // limit applies to the total size of the headers.
  server.server.maxHeadersCount = 0;
  return server;
}

function acceptWebSockets(server: FastifyInstance, { admit, forwarding, handleUpgrade, services }: HttpServerOptions) {
  server.get(SOCKET_PATH, described(SOCKET), async (_request, reply) => {
    reply.header("upgrade", "websocket");
    throw new RequestError(426, "upgrade_required", `${SOCKET_PATH} speaks WebSocket: connect with ws:// or wss://`);
  });
  const socketIo = createSocketIoRefusal();
  server.addHook("preClose", async () => socketIo.stop());
  // This listener must run before that of node:http, which creates a parser for each connection.
  server.server.prependListener("connection", (socket: Socket) => admit(socket));
  server.server.on("upgrade", (request, socket, head) => {
    forwarding.check(request);
    // Nothing else handles errors of this socket yet. A reset must not end the program.
    const address = services.addressOf(request);
    socket.on("error", (error) => services.logger.debug({ err: error, address }, "socket failed while upgrading"));
    const path = request.url?.split("?")[0];
    if (path === SOCKET_PATH) handleUpgrade(request, socket, head);
    else if (path === SOCKET_IO_PATH) socketIo.handleUpgrade(request, socket, head);
    else socket.end(NO_UPGRADE_HERE, () => socket.destroy());
  });
}

function boundAddress(server: FastifyInstance): AddressInfo {
  const bound = server.server.address();
  if (bound === null || typeof bound === "string") throw new Error("the HTTP server is not bound to a port");
  return bound;
}

async function stop(server: FastifyInstance): Promise<void> {
  const timer = setTimeout(() => server.server.closeAllConnections(), STOP_TIMEOUT_MS);
  await server.close();
  clearTimeout(timer);
}

async function listen(server: FastifyInstance, host: string, port: number): Promise<void> {
  // If the name had several addresses, Fastify would open a second server, without the listeners for WebSockets.
  const { address } = await lookup(host);
  await server.listen({ host: address, port, listenTextResolver: (text) => `listening: ${text}` });
}

interface ListenAddress {
  host: string;
  port: number;
  /** The settings that hold host and port. */
  variables: readonly [host: string, port: string];
}

/** Replaces an error of `opening` by one that says which setting is wrong, and what to do. */
async function orListenError<Opened>(
  { host, port, variables: [hostName, portName] }: ListenAddress,
  opening: Promise<Opened>,
): Promise<Opened> {
  try {
    return await opening;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    const advice: Record<string, string> = {
      EADDRINUSE: `${portName}: port ${port} of ${host} is in use: stop what uses it, or set ${portName} to another (0 chooses a free one)`,
      EACCES: `${portName}: port ${port} needs more rights than this user has: set ${portName} to one above 1023`,
      EADDRNOTAVAIL: `${hostName}: this machine has no address ${host}: set it to one that it has`,
      ENOTFOUND: `${hostName}: no address is known for the name ${host}: set it to an address of this machine`,
    };
    const message = typeof code === "string" ? advice[code] : undefined;
    throw message === undefined ? error : new Error(message, { cause: error });
  }
}
