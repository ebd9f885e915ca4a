import type { FastifyInstance, FastifyRequest } from "fastify";
import { ProviderUnavailableError } from "../auth/provider.ts";
import { InvalidTokenError } from "../auth/tokens.ts";
import { AccessError, notFound, RequestError, toHttp } from "./errors.ts";
import type { RouteMethods } from "./route-methods.ts";
import type { Services } from "./services.ts";

/**
 * The rest of a refused body is read and discarded up to this size. If the server closed the connection instead, the
 * operating system would reset it, and a proxy such as nginx would answer 502 and not pass on the refusal.
 */
const MAX_DISCARDED_BYTES = 4 * 1_048_576;

/** Turns errors, unknown paths and wrong methods into responses, and records refusals. */
export function respondToErrors(
  server: FastifyInstance,
  { audit, callers, addressOf }: Pick<Services, "audit" | "callers" | "addressOf">,
  routeMethods: RouteMethods,
): void {
  server.setErrorHandler((error, request, reply) => {
    const { statusCode, body, retryAfterSeconds } = toHttp(error);
    if (retryAfterSeconds !== undefined) reply.header("retry-after", retryAfterSeconds);
    const { method } = request;
    const path = pathOf(request);
    const by = callers.nameOf(request);
    const line = { method, path, by, statusCode, code: body.error.code };
    // The identity provider logs its own failure, once for all callers.
    if (statusCode >= 500 && !(error instanceof ProviderUnavailableError))
      request.log.error({ err: error, ...line }, "request failed");
    else request.log.debug(line, "request refused");
    const isRefused = error instanceof AccessError || error instanceof InvalidTokenError;
    // The route itself records the refusal when another limit is exceeded, such as that of simultaneous logins.
    if (isRefused || (error instanceof RequestError && body.error.code === "rate_limited")) {
      audit.refuse({
        action: "access",
        who: by,
        address: addressOf(request.raw),
        target: `${method} ${path}`,
        outcome: body.error.code,
      });
    }
    if (statusCode === 401) reply.header("www-authenticate", "Bearer");
    // Fastify closes the connection after a body that is too large.
    if (statusCode === 413 && Number(request.headers["content-length"]) <= MAX_DISCARDED_BYTES)
      reply.removeHeader("connection");
    reply.code(statusCode).send(body);
  });
  // An unknown path is counted for the general limit, so that guessing paths is slow.
  server.setNotFoundHandler({ preHandler: server.rateLimit() }, (request, reply) => {
    const path = pathOf(request);
    const allowed = routeMethods.of(path);
    if (allowed.length === 0) throw notFound(`There is no ${request.method} ${path}`);
    reply.header("allow", allowed.join(", "));
    const message = `${path} answers ${allowed.join(", ")}, not ${request.method}`;
    throw new RequestError(405, "method_not_allowed", message);
  });
}

/** The response to bytes that are not HTTP and so never become a request. */
export function malformedResponse(code: string | undefined): string {
  const [status, error] =
    code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? ["408 Request Timeout", { code: "request_timeout", message: "The request did not arrive in time" }]
      : code === "HPE_HEADER_OVERFLOW"
        ? ["431 Request Header Fields Too Large", { code: "headers_too_large", message: "The headers are too large" }]
        : ["400 Bad Request", { code: "bad_request", message: "This is not HTTP/1.1" }];
  const body = JSON.stringify({ error });
  const head = `Connection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}`;
  return `HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`;
}

/** The path without the query: a client may have put a token there by mistake. */
function pathOf({ url }: FastifyRequest): string {
  return url.split("?", 1)[0] ?? "";
}
