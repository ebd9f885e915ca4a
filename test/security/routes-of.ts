import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { FastifyInstance } from "fastify";

const CHANNEL = "fastify.initialization";

/**
 * Starts something that serves HTTP, and notes every route that it makes: `GET /users/:id`. So a test can ask for a rule
 * for each of them, those that nobody has thought of included. Without HEAD, which goes where GET goes.
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
