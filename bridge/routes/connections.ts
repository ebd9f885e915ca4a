import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { notFound } from "../errors.ts";
import { demand } from "./callers.ts";
import { read } from "./request-body.ts";
import type { Services } from "./services.ts";

const paramsSchema = z.object({ id: z.string().min(1).max(64) });

/** `GET /connections` and `DELETE /connections/{id}`: for operators. */
export function connectionRoutes(server: FastifyInstance, { callers, sockets, logger }: Services): void {
  server.get("/connections", async (request) => {
    demand(callers.of(request).grants.admin, "admin");
    return { connections: sockets.connections() };
  });

  server.delete("/connections/:id", async (request, reply) => {
    const caller = callers.of(request);
    demand(caller.grants.admin, "admin");
    const { id } = read(paramsSchema, request.params, "The path");
    if (!sockets.closeConnection(id)) throw notFound(`There is no connection ${JSON.stringify(id)}`);
    logger.info({ by: caller.name, connection: id }, "connection closed by an operator");
    return reply.code(204).send();
  });
}
