import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { asyncApi } from "../../../contract/asyncapi.ts";
import { openApi } from "../openapi.ts";
import { referencePage } from "../reference-page.ts";
import { type DescribedRoute, described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const group = "API documents";
const OPENAPI: RouteDescription = {
  ...{ group, summary: "The OpenAPI 3.1 document of the HTTP API" },
  responses: { 200: { is: "This document", json: z.looseObject({ openapi: z.string() }) } },
};
const ASYNCAPI: RouteDescription = {
  ...{ group, summary: "The AsyncAPI 3.0 document of WebSocket and MQTT" },
  responses: { 200: { is: "The document, as YAML", types: ["application/yaml"] } },
};
const PAGE: RouteDescription = {
  ...{ group, summary: "A page for people with the content of both documents" },
  responses: { 200: { is: "The page", types: ["text/html"] } },
};

/**
 * `GET /openapi.json`, `GET /asyncapi.yaml` and `GET /docs`, open for everybody.
 * @param routes the described routes of the server, read at the first request
 */
export function apiDocumentRoutes(
  server: FastifyInstance,
  { version, tree }: Pick<Services, "version" | "tree">,
  routes: () => readonly DescribedRoute[],
): void {
  const openapi = once(() => openApi(routes(), version));
  const asyncapi = once(() => asyncApi({ version, root: tree.root }));
  const yaml = once(async () => (await import("yaml")).stringify(asyncapi(), { aliasDuplicateObjects: false }));
  const page = once(() => referencePage(openapi(), asyncapi()));

  server.get("/openapi.json", described(OPENAPI), async () => openapi());
  server.get("/asyncapi.yaml", described(ASYNCAPI), async (_request, reply) =>
    reply.type("application/yaml; charset=utf-8").send(await yaml()),
  );
  server.get("/docs", described(PAGE), async (_request, reply) => reply.type("text/html; charset=utf-8").send(page()));
}

function once<Value>(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
