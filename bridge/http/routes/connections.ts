import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { answerNodes, askNodes } from "../../cluster/ask.ts";
import type { ConnectionInfo } from "../../websocket/sockets.ts";
import { notFound } from "../errors.ts";
import { demand } from "./callers.ts";
import { read } from "./request-body.ts";
import type { Services } from "./services.ts";

/** Connections that one node tells another of. */
const MAX_TOLD = 1_000;
const LIST = "connections";
const CLOSE = "close-connection";

const paramsSchema = z.object({ id: z.string().min(1).max(64) });
const listSchema = z.object({
  connections: z.array(
    z.object({
      connection_id: z.string(),
      user_id: z.string(),
      connected_at: z.string(),
      ip_address: z.string(),
      last_seen: z.string(),
      channels: z.array(z.string()),
      lagging: z.boolean(),
      queued_bytes: z.number(),
    }),
  ),
  total: z.number(),
});
const closeSchema = z.object({ id: z.string() });

/** `GET /connections` and `DELETE /connections/{id}`: for operators, over all nodes. */
export function connectionRoutes(server: FastifyInstance, services: Services): void {
  const { callers, cluster, sockets, logger, audit, addressOf } = services;
  const ends = [
    answerNodes(cluster, LIST, () => {
      const connections = sockets.connections();
      return { connections: connections.slice(0, MAX_TOLD).map((one) => ({ ...one })), total: connections.length };
    }),
    answerNodes(cluster, CLOSE, (about) => {
      const asked = closeSchema.safeParse(about);
      return asked.success && sockets.closeConnection(asked.data.id);
    }),
  ];
  server.addHook("onClose", async () => {
    for (const end of ends) end();
  });

  server.get("/connections", async (request) => {
    demand(callers.of(request).grants.admin, "admin");
    const { given, missing } = await askNodes(cluster, LIST, null);
    const connections = ofNode(cluster.nodeId, sockets.connections());
    let untold = 0;
    for (const [node, answer] of given) {
      const told = listSchema.safeParse(answer);
      if (!told.success) continue;
      connections.push(...ofNode(node, told.data.connections));
      untold += told.data.total - told.data.connections.length;
    }
    return {
      connections,
      // Said only when the list is not whole.
      ...(untold === 0 ? {} : { not_listed: untold }),
      ...(missing.length === 0 ? {} : { silent_nodes: missing }),
    };
  });

  server.delete("/connections/:id", async (request, reply) => {
    const caller = callers.of(request);
    demand(caller.grants.admin, "admin");
    const { id } = read(paramsSchema, request.params, "The path");
    if (!sockets.closeConnection(id)) {
      const { given } = await askNodes(cluster, CLOSE, { id });
      if (![...given.values()].includes(true)) throw notFound(`There is no connection ${JSON.stringify(id)}`);
    }
    logger.info({ by: caller.name, connection: id }, "connection closed by an operator");
    const address = addressOf(request.raw);
    audit.record({ action: "connection.close", who: caller.name, address, target: id, outcome: "done" });
    return reply.code(204).send();
  });
}

function ofNode(node: string, connections: readonly ConnectionInfo[]): (ConnectionInfo & { node: string })[] {
  return connections.map((connection) => ({ ...connection, node }));
}
