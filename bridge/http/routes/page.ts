import { existsSync } from "node:fs";
import { join } from "node:path";
import fastifyStatic from "@fastify/static";
import type { FastifyInstance } from "fastify";

const NOT_BUILT =
  "Skylapse Realtime is running. Its dashboard page is not built: run npm run build, then start again.\n";

export async function pageRoutes(server: FastifyInstance, pagePath: string | undefined): Promise<void> {
  if (pagePath === undefined || !existsSync(join(pagePath, "index.html"))) {
    server.get("/", async (_request, reply) => reply.type("text/plain; charset=utf-8").send(NOT_BUILT));
    return;
  }
  await server.register(fastifyStatic, {
    root: pagePath,
    decorateReply: false,
    dotfiles: "ignore",
    cacheControl: false,
    setHeaders(reply, path) {
      // Each file name below assets/ contains a hash of the content. All other files may change with the next build.
      const isNamedByContent = path.startsWith(join(pagePath, "assets/"));
      reply.header("cache-control", isNamedByContent ? "public, max-age=31536000, immutable" : "no-cache");
    },
  });
}
