import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { normalOrigin, type Origins, originAdvice } from "../../../platform/origins.ts";
import { readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";

const querySchema = z.object({ origin: z.string().max(300, "must have at most 300 characters") });
const ALLOWED: RouteDescription = {
  ...{ group: "Web pages", summary: "Whether a page of an origin may connect", query: querySchema },
  responses: {
    200: {
      is: "The answer, for pages of every origin",
      json: z.object({
        allowed: z.boolean(),
        message: z
          .string()
          .optional()
          .describe("How an operator can allow the origin; absent if the origin is allowed"),
      }),
    },
  },
};

/** `GET /allowed-origin?origin=…`, for pages of any origin: browsers do not report why a WebSocket was refused. */
export function originRoutes(server: FastifyInstance, origins: Pick<Origins, "allowsPage">): void {
  server.get("/allowed-origin", described(ALLOWED), async (request, reply) => {
    const { origin } = readQuery(querySchema, request);
    const allowed = origins.allowsPage(origin, request.raw);
    reply.header("access-control-allow-origin", "*").header("cache-control", "no-store");
    return { allowed, ...(allowed ? {} : { message: originAdvice(normalOrigin(origin) ?? "this origin") }) };
  });
}
