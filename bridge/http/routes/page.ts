import { existsSync } from "node:fs";
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance, RouteOptions } from "fastify";
import { described, type RouteDescription } from "../route-description.ts";

const NOT_BUILT =
  "Skylapse Realtime is running. Its dashboard page is not built: run npm run build, then start again.\n";
const PAGE: RouteDescription = {
  ...{ group: "Web pages", summary: "The dashboard page and its files" },
  responses: { 200: { is: "The page", types: ["text/html"] } },
  errors: ["404 not_found"],
};

/**
 * Browsers ignore these headers of scripts, styles and pictures. Without them, such a response is 0.7 KB smaller, which is a
 * tenth of a second on a link of 6 KiB/s.
 */
const HEADERS_OF_DOCUMENTS = [
  ...["content-security-policy", "cross-origin-opener-policy", "origin-agent-cluster", "referrer-policy"],
  ...["x-dns-prefetch-control", "x-download-options", "x-frame-options", "x-permitted-cross-domain-policies"],
  ...["x-xss-protection", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
];

export async function pageRoutes(server: FastifyInstance, pagePath: string | undefined): Promise<void> {
  if (pagePath === undefined || !existsSync(join(pagePath, "index.html"))) {
    server.get("/", described(PAGE), async (_request, reply) =>
      reply.type("text/plain; charset=utf-8").send(NOT_BUILT),
    );
    return;
  }
  const addDescription = (route: RouteOptions) => {
    if (route.url === "/*") route.config = { ...route.config, description: PAGE };
  };
  server.addHook("onRoute", addDescription);
  await server.register(fastifyStatic, {
    root: pagePath,
    decorateReply: false,
    dotfiles: "ignore",
    cacheControl: false,
    // `npm run build` writes `x.js.br` and `x.js.gz` beside `x.js`. Each has an ETag of its own.
    preCompressed: true,
    setHeaders(reply, path) {
      // Each file name below assets/ contains a hash of the content. All other files may change with the next build.
      const isNamedByContent = path.startsWith(join(pagePath, "assets/"));
      reply.header("cache-control", isNamedByContent ? "public, max-age=31536000, immutable" : "no-cache");
      if (isNamedByContent) for (const name of HEADERS_OF_DOCUMENTS) reply.removeHeader(name);
    },
  });
}
