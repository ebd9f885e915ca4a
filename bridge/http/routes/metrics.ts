import { createServer } from "node:http";
import type { FastifyInstance } from "fastify";
import { SYSTEM } from "../../../contract/channels.ts";
import { sameSecret } from "../../../platform/same-secret.ts";
import { bearerOf, demand } from "../callers.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const PATH = "/metrics";
const NEEDS_TOKEN = "This needs METRICS_TOKEN, or a token with the permission system:read, as Authorization: Bearer";

const METRICS: RouteDescription = {
  ...{ group: "Health and metrics", summary: "Metrics of this node for Prometheus" },
  ...{ permissions: ["system:read"], openInTrial: true },
  responses: { 200: { is: "The metrics. `METRICS_TOKEN` also gives access", types: ["text/plain"] } },
};

/** `GET /metrics` in the text format of Prometheus: for `METRICS_TOKEN`, and for callers with `system:read`. */
export function metricsRoutes(server: FastifyInstance, { callers, metrics, http }: Services): void {
  server.get(PATH, described(METRICS), async (request, reply) => {
    if (!hasToken(request.headers.authorization, http.metricsToken))
      demand(callers.orLocal(request, NEEDS_TOKEN).grants.canReadChannel(SYSTEM), "system:read");
    reply.type(metrics.contentType);
    return await metrics.text();
  });
  server.addHook("onResponse", async ({ method, routeOptions }, reply) => {
    // A path that is no route is not a label: strangers could create any number of them.
    const labels = { method, route: routeOptions.url ?? "none", status: String(reply.statusCode) };
    metrics.requestSeconds.observe(labels, reply.elapsedTime / 1000);
  });
}

/**
 * Serves `/metrics` and nothing else at an address of its own.
 * @throws the error of `listen`, such as `EADDRINUSE`
 */
export async function serveMetrics(
  { host, port, token }: { host: string; port: number; token: string | undefined },
  metrics: Services["metrics"],
): Promise<{ port: number; stop(): Promise<void> }> {
  const server = createServer((request, response) => {
    if (request.url?.split("?", 1)[0] !== PATH) response.writeHead(404).end();
    else if (request.method !== "GET" && request.method !== "HEAD") response.writeHead(405, { allow: "GET" }).end();
    else if (token !== undefined && !hasToken(request.headers.authorization, token))
      response.writeHead(401, { "www-authenticate": "Bearer" }).end();
    else
      void metrics.text().then(
        (text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the metrics server is not bound to a port");
  return {
    port: address.port,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function hasToken(authorization: string | undefined, token: string | undefined): boolean {
  const bearer = bearerOf(authorization ?? "");
  return token !== undefined && bearer !== undefined && sameSecret(bearer, token);
}
