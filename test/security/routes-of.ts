import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { FastifyInstance } from "fastify";

const CHANNEL = "fastify.initialization";

/**
 * Starts a program that serves HTTP, and collects its routes, such as `GET /users/:id`, so that a test can require a
 * rule for every route, including new ones. Leaves out HEAD, which is served like GET.
 */
export async function withRoutesOf<Started>(start: () => Promise<Started>): Promise<[Started, ReadonlySet<string>]> {
  const routes = new Set<string>();
  const watch = (message: unknown) => {
    if (!isInitialization(message)) return;
    message.fastify.addHook("onRoute", ({ method, url }) => {
      for (const one of [method].flat()) if (one !== "HEAD") routes.add(`${one} ${url}`);
    });
  };
  subscribe(CHANNEL, watch);
  try {
    return [await start(), routes];
  } finally {
    unsubscribe(CHANNEL, watch);
  }
}

function isInitialization(message: unknown): message is { fastify: FastifyInstance } {
  return typeof message === "object" && message !== null && "fastify" in message;
}
