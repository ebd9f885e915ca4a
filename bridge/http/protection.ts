import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, onRequestAsyncHookHandler } from "fastify";
import { networkOf } from "../../platform/addresses.ts";
import { counted } from "../../platform/counted.ts";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { Origins } from "../../platform/origins.ts";
import type { Rates } from "../cluster/cluster.ts";
import { RequestError } from "./errors.ts";
import { RequestThrottle } from "./request-throttle.ts";
import type { Services } from "./services.ts";

export interface ProtectionOptions {
  http: Pick<Services["http"], "maxRequestsPerSecond" | "maxRequestsPerMinute">;
  addressOf: Services["addressOf"];
  origins: Pick<Origins, "allows" | "noteRefusal">;
  cluster: Pick<Services["cluster"], "rates">;
}

const CORS = {
  methods: ["GET", "POST", "PUT", "DELETE"],
  allowedHeaders: ["authorization", "content-type", "if-none-match"],
  exposedHeaders: ["etag", "retry-after", "x-request-id", "x-taken-at"],
  maxAge: 600,
};

/** Adds the steps that every request passes first: throttle, security headers, CORS, rate limits. */
export async function protect(server: FastifyInstance, options: ProtectionOptions): Promise<void> {
  const { http, addressOf, origins, cluster } = options;
  const throttle = new RequestThrottle(http.maxRequestsPerSecond);
  server.addHook("onRequest", async (request, reply) => {
    const mayContinue = await throttle.wait(networkOf(addressOf(request.raw)));
    const { socket } = request.raw;
    if (mayContinue && !socket.destroyed) return undefined;
    socket.destroy();
    return reply.hijack();
  });
  await server.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        "default-src": ["'self'"],
        "base-uri": ["'none'"],
        // In new browsers, 'self' includes ws:. Safari before 15.4 needs the WebSocket sources by name.
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
    // The proxy that terminates TLS sets this header. Browsers ignore it on plain HTTP.
    strictTransportSecurity: false,
  });
  await server.register(cors, {
    delegator({ raw, method, headers }, done) {
      const isAllowed = origins.allows(raw);
      // A browser sends a simple request, such as for an image, unasked. Only a refused preflight is worth a warning.
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
      new RequestError(429, "rate_limited", `More than ${counted(max, "request")} in a minute: try again in ${after}`),
  });
  if (cluster.rates !== undefined) countAtAllNodes(server, cluster.rates, addressOf);
}

/** The options of a route with its own limit per address at all nodes together, instead of the general limit of a node. */
export function perMinute(max: number) {
  return { config: { rateLimit: Number.isFinite(max) ? ({ max, timeWindow: 60_000 } as const) : (false as const) } };
}

/**
 * Counts the requests of routes that {@link perMinute} limits at all nodes together, after this node has counted them,
 * so that a flood at one node does not reach Redis. While Redis is unavailable, each node counts by itself.
 */
function countAtAllNodes(server: FastifyInstance, rates: Rates, addressOf: Services["addressOf"]): void {
  server.addHook("onRoute", (route) => {
    const limit = route.config?.rateLimit;
    if (typeof limit !== "object" || typeof limit.max !== "number") return;
    const { max } = limit;
    const name = `${[route.method].flat().join()} ${route.url}`;
    const count: onRequestAsyncHookHandler = async (request, reply) => {
      const window = { name, key: networkOf(addressOf(request.raw)), limit: max };
      const [waitMs = 0] = await rates.exceededForMs([window]).catch(noneIfUnavailable);
      if (waitMs === 0) return;
      const seconds = Math.ceil(waitMs / 1000);
      reply.header("retry-after", seconds);
      throw new RequestError(
        429,
        "rate_limited",
        `More than ${counted(max, "request")} in a minute: try again in ${seconds} s`,
      );
    };
    route.onRequest = [route.onRequest ?? [], count].flat();
  });
}

function noneIfUnavailable(error: unknown): [] {
  if (error instanceof StoreUnavailableError) return [];
  throw error;
}

/** The WebSocket sources at the page's host. A client may send any Host header: text that is no host adds no source. */
function socketSources(host: string | undefined): string {
  return host !== undefined && /^[\w.:[\]-]{1,255}$/.test(host) ? `ws://${host} wss://${host}` : "'self'";
}
