import { lookup } from "node:dns/promises";
import type { IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest, LogController } from "fastify";
import { networkOf } from "../../platform/addresses.ts";
import type { Origins } from "../../platform/origins.ts";
import type { ForwardingWatch } from "../../platform/untrusted-proxies.ts";
import { ProviderUnavailableError } from "../auth/identity-provider.ts";
import { InvalidTokenError } from "../auth/tokens.ts";
import { AccessError, notFound, RequestError, toHttp } from "./errors.ts";
import { RequestPace } from "./request-pace.ts";
import { authRoutes } from "./routes/auth.ts";
import { broadcastRoutes } from "./routes/broadcast.ts";
import { cameraRoutes } from "./routes/cameras.ts";
import { clockRoutes } from "./routes/clock.ts";
import { commandRoutes } from "./routes/commands.ts";
import { connectionRoutes } from "./routes/connections.ts";
import { deviceRoutes } from "./routes/devices.ts";
import { healthRoutes } from "./routes/health.ts";
import { originRoutes } from "./routes/origins.ts";
import { pageRoutes } from "./routes/page.ts";
import { previewRoutes } from "./routes/previews.ts";
import { isForKnownOnly, MAX_PARAM_LENGTH, readBodiesAsJson } from "./routes/request-body.ts";
import { collectRouteMethods, type RouteMethods } from "./routes/route-methods.ts";
import type { Services } from "./routes/services.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { userRoutes } from "./routes/users.ts";

export interface HttpServer {
  address: string;
  /** Bound; for port 0 the one that was free. */
  port: number;
  /** Stops accepting; what is under way has {@link STOP_TIMEOUT_MS} to end. */
  stop(): Promise<void>;
}

export interface HttpServerOptions {
  host: string;
  port: number;
  /** Whose pages may call from elsewhere. */
  origins: Origins;
  /** The folder of the built dashboard page. */
  pagePath: string | undefined;
  /** Told of each request. */
  forwarding: Pick<ForwardingWatch, "check">;
  /** Asked of each connection before anything is kept for it; one that is refused it destroys itself. */
  admit: (socket: Socket) => boolean;
  handleUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  services: Services;
}

export const SOCKET_PATH = "/ws";
const CORS = {
  methods: ["GET", "POST", "PUT", "DELETE"],
  allowedHeaders: ["authorization", "content-type", "if-none-match"],
  exposedHeaders: ["etag", "retry-after", "x-taken-at"],
  maxAge: 600,
};
const STOP_TIMEOUT_MS = 1000;
/** A connection on which nothing moves, milliseconds. Above the 60 s that a command may be waited for. */
const IDLE_TIMEOUT_MS = 120_000;
const NO_UPGRADE_HERE = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/** Fastify, with its limits and headers, and the one path that becomes a WebSocket. Listens when this resolves. */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { host, port, services } = options;
  const { http, stats } = services;
  const logger: FastifyBaseLogger = services.logger;
  const server: FastifyInstance = Fastify({
    loggerInstance: logger,
    // Errors are logged by the error handler; a line for each request would drown them.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: Math.min(http.maxBodyBytes, Number.MAX_SAFE_INTEGER),
    // Against clients that send a byte a minute, to hold as many sockets as they like (slowloris).
    requestTimeout: http.requestTimeoutMs,
    http: {
      headersTimeout: http.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(http.requestTimeoutMs, 5000),
    },
    connectionTimeout: IDLE_TIMEOUT_MS,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    clientErrorHandler: ({ code }, socket) => {
      if (code === "ECONNRESET" || socket.destroyed || !socket.writable) return;
      socket.end(malformedAnswer(code), () => socket.destroy());
    },
    // Paths that cannot be decoded never get as far as the error handler.
    frameworkErrors: (error, _request, reply) => {
      const { statusCode, body } = toHttp(error);
      reply.raw.writeHead(statusCode, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(body));
    },
  });

  // Of more than 2,000 headers Node.js would leave out the last, such as the one that names for whom a proxy asks. How many
  // bytes they may have is limited all the same.
  server.server.maxHeadersCount = 0;
  const routeMethods = collectRouteMethods(server);
  await protect(server, options);
  // After the limits, which come with the request: whoever asks the identity provider for keys has been counted.
  server.addHook("preParsing", async (request) => {
    if (!request.is404) await services.callers.prepare(request);
    // Whether he may do it the route says; that he is somebody is asked before his body costs memory.
    if (isForKnownOnly(request)) services.callers.orLocal(request);
  });
  server.addHook("onRequest", async ({ raw }) => options.forwarding.check(raw));
  readBodiesAsJson(server);
  answerErrors(server, services, routeMethods);
  server.addHook("onResponse", async (_request, reply) => {
    stats.add("http_requests");
    if (reply.statusCode >= 400) stats.add("http_refused");
  });

  authRoutes(server, services);
  broadcastRoutes(server, services);
  cameraRoutes(server, services);
  clockRoutes(server, services);
  commandRoutes(server, services);
  connectionRoutes(server, services);
  deviceRoutes(server, services);
  healthRoutes(server, services);
  originRoutes(server, options.origins);
  previewRoutes(server, services);
  tokenRoutes(server, services);
  userRoutes(server, services);
  await pageRoutes(server, options.pagePath);
  server.get(SOCKET_PATH, async (_request, reply) => {
    reply.header("upgrade", "websocket");
    throw new RequestError(426, "upgrade_required", `${SOCKET_PATH} speaks WebSocket: connect with ws:// or wss://`);
  });

  // Before the listener of node:http, which makes a parser for whoever connects.
  server.server.prependListener("connection", (socket: Socket) => options.admit(socket));
  server.server.on("upgrade", (request, socket, head) => {
    options.forwarding.check(request);
    // Nobody else listens for errors of this socket yet; a reset must not end the program.
    socket.on("error", (error) => logger.debug({ err: error }, "socket failed while upgrading"));
    if (request.url?.split("?")[0] === SOCKET_PATH) options.handleUpgrade(request, socket, head);
    else socket.end(NO_UPGRADE_HERE, () => socket.destroy());
  });

  try {
    // For a name of several addresses Fastify would open a second server, which none of the listeners above hears.
    const { address } = await lookup(host);
    await server.listen({ host: address, port });
  } catch (error) {
    throw listenError(host, port, error);
  }
  const bound = boundAddress(server);
  let stopping: Promise<void> | undefined;
  return {
    ...bound,
    stop() {
      stopping ??= stop(server);
      return stopping;
    },
  };
}

/** To what is not even HTTP, and so never becomes a request. */
function malformedAnswer(code: string | undefined): string {
  const [status, said] =
    code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? ["408 Request Timeout", { code: "request_timeout", message: "The request did not arrive in time" }]
      : code === "HPE_HEADER_OVERFLOW"
        ? ["431 Request Header Fields Too Large", { code: "headers_too_large", message: "The headers are too large" }]
        : ["400 Bad Request", { code: "bad_request", message: "This is not HTTP/1.1" }];
  const body = JSON.stringify({ error: said });
  const head = `Connection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`;
}

async function protect(server: FastifyInstance, { origins, services }: HttpServerOptions): Promise<void> {
  const { http, addressOf } = services;
  const pace = new RequestPace(http.maxRequestsPerSecond);
  server.addHook("onRequest", async (request, reply) => {
    const hasTurn = await pace.turn(networkOf(addressOf(request.raw)));
    const { socket } = request.raw;
    if (hasTurn && !socket.destroyed) return undefined;
    socket.destroy();
    return reply.hijack();
  });
  await server.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        "default-src": ["'self'"],
        "base-uri": ["'none'"],
        // 'self' covers ws: in new browsers; Safari before 15.4 wants it named.
        "connect-src": ["'self'", ({ headers }) => socketSources(headers.host)],
        "font-src": ["'self'", "data:"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "img-src": ["'self'", "blob:", "data:"],
        "object-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],
      },
    },
    // Whoever ends TLS decides; on plain HTTP browsers ignore it.
    strictTransportSecurity: false,
  });
  await server.register(cors, {
    delegator({ raw, method, headers }, done) {
      const isAllowed = origins.allows(raw);
      // Of a page's simple requests, such as an image, nobody asks for permission: only its preflight is worth a warning.
      if (!isAllowed && method === "OPTIONS" && headers["access-control-request-method"] !== undefined)
        origins.noteRefusal(raw);
      done(null, { ...CORS, origin: isAllowed && headers.origin !== undefined ? [headers.origin] : [] });
    },
  });
  await server.register(rateLimit, {
    max: Math.min(http.maxRequestsPerMinute, Number.MAX_SAFE_INTEGER),
    timeWindow: 60_000,
    keyGenerator: (request) => networkOf(addressOf(request.raw)),
    errorResponseBuilder: (_request, { max, after }) =>
      new RequestError(429, "rate_limited", `More than ${max} requests in a minute: try again in ${after}`),
  });
}

function answerErrors(
  server: FastifyInstance,
  { audit, callers, addressOf }: Services,
  routeMethods: RouteMethods,
): void {
  server.setErrorHandler((error, request, reply) => {
    const { statusCode, body, retryAfterSeconds } = toHttp(error);
    if (retryAfterSeconds !== undefined) reply.header("retry-after", retryAfterSeconds);
    // Without the query, which may be anything that somebody took for the place of a token.
    const { method } = request;
    const path = pathOf(request);
    // That the provider is away is in the log already, and not once for each who asks.
    if (statusCode >= 500 && !(error instanceof ProviderUnavailableError))
      request.log.error({ err: error, method, path }, "request failed");
    else request.log.debug({ method, statusCode, code: body.error.code }, "request refused");
    const isRefused = error instanceof AccessError || error instanceof InvalidTokenError;
    // Only of the limits here: what else is too much, such as logins at once, is told where it was asked for.
    if (isRefused || (error instanceof RequestError && body.error.code === "rate_limited")) {
      const [who, address] = [callers.nameOf(request), addressOf(request.raw)];
      audit.refuse({ action: "access", who, address, target: `${method} ${path}`, outcome: body.error.code });
    }
    if (statusCode === 401) reply.header("www-authenticate", "Bearer");
    reply.code(statusCode).send(body);
  });
  // With the general limit, so that guessing paths is as slow as everything else.
  server.setNotFoundHandler({ preHandler: server.rateLimit() }, (request, reply) => {
    const path = pathOf(request);
    const allowed = routeMethods.of(path);
    if (allowed.length === 0) throw notFound(`There is no ${request.method} ${path}`);
    reply.header("allow", allowed.join(", "));
    const message = `${path} answers ${allowed.join(", ")}, not ${request.method}`;
    throw new RequestError(405, "method_not_allowed", message);
  });
}

function pathOf({ url }: FastifyRequest): string {
  return url.split("?", 1)[0] ?? "";
}

/** The sockets of the host that the page came from. A Host header is anybody's to write: one of another form adds nothing. */
function socketSources(host: string | undefined): string {
  return host !== undefined && /^[\w.:[\]-]{1,255}$/.test(host) ? `ws://${host} wss://${host}` : "'self'";
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

/** The port could not be opened: says which, and what to do. */
function listenError(host: string, port: number, error: unknown): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const advice: Record<string, string> = {
    EADDRINUSE: `WS_PORT: port ${port} of ${host} is in use: stop what uses it, or set WS_PORT to another (0 takes a free one)`,
    EACCES: `WS_PORT: port ${port} needs more rights than this user has: set WS_PORT to one above 1023`,
    EADDRNOTAVAIL: `HOST: this machine has no address ${host}: set it to one that it has`,
    ENOTFOUND: `HOST: no address is known of the name ${host}: set it to an address of this machine`,
  };
  const message = typeof code === "string" ? advice[code] : undefined;
  return message === undefined ? error : new Error(message, { cause: error });
}
