import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { normalOrigin, type Origins, originAdvice } from "../../../platform/origins.ts";
import { readQuery } from "../request-body.ts";

const querySchema = z.object({ origin: z.string().max(300, "must have at most 300 characters") });

/** `GET /allowed-origin?origin=…`, for pages of any origin: browsers do not report why a WebSocket was refused. */
export function originRoutes(server: FastifyInstance, origins: Pick<Origins, "allowsPage">): void {
  server.get("/allowed-origin", async (request, reply) => {
    const { origin } = readQuery(querySchema, request);
    const allowed = origins.allowsPage(origin, request.raw);
    reply.header("access-control-allow-origin", "*").header("cache-control", "no-store");
    return { allowed, ...(allowed ? {} : { message: originAdvice(normalOrigin(origin) ?? "this origin") }) };
  });
}
