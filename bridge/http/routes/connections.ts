import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { answerNodes, askNodes } from "../../cluster/ask.ts";
import { type ConnectionInfo, connectionInfoSchema } from "../../websocket/sockets.ts";
import { adminOf, auditedAdmin } from "../callers.ts";
import { notFound } from "../errors.ts";
import { readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

/** The most connections that one node lists for another. */
const MAX_LISTED = 1_000;
const LIST = "connections";
const CLOSE = "close-connection";

const paramsSchema = z.object({ id: z.string().min(1).max(64) });
const listSchema = z.object({ connections: z.array(connectionInfoSchema), total: z.number() });
const closeSchema = z.object({ id: z.string() });

const common = { group: "Connections", permissions: ["admin"] };
const LIST_OPEN: RouteDescription = {
  ...{ ...common, summary: "Lists the open WebSocket connections of all nodes" },
  responses: {
    200: {
      is: "The connections",
      json: z.object({
        connections: z.array(connectionInfoSchema.extend({ node: z.string() })),
        not_listed: z.number().optional().describe("The number of omitted connections of other nodes"),
        silent_nodes: z.array(z.string()).optional().describe("Nodes that did not answer in time"),
      }),
    },
  },
};
const CLOSE_ONE: RouteDescription = {
  ...{ ...common, summary: "Closes a connection at any node", path: paramsSchema },
  responses: { 204: { is: "The connection is closed" } },
  errors: ["404 not_found"],
};

/** `GET /connections` and `DELETE /connections/{id}`, over all nodes: for admins. */
export function connectionRoutes(server: FastifyInstance, services: Services): void {
  const { callers, cluster, sockets } = services;
  const ends = [
    answerNodes(cluster, LIST, () => {
      const connections = sockets.connections();
      return { connections: connections.slice(0, MAX_LISTED).map((one) => ({ ...one })), total: connections.length };
    }),
    answerNodes(cluster, CLOSE, (about) => {
      const asked = closeSchema.safeParse(about);
      return asked.success && sockets.closeConnection(asked.data.id);
    }),
  ];
  server.addHook("onClose", async () => ends.forEach((end) => void end()));

  server.get("/connections", described(LIST_OPEN), async (request) => {
    adminOf(callers, request);
    const { given, missing } = await askNodes(cluster, LIST, null);
    const connections = ofNode(cluster.nodeId, sockets.connections());
    let unlisted = 0;
    for (const [node, answer] of given) {
      const listed = listSchema.safeParse(answer);
      if (!listed.success) continue;
      connections.push(...ofNode(node, listed.data.connections));
      unlisted += listed.data.total - listed.data.connections.length;
    }
    return {
      connections,
      ...(unlisted === 0 ? {} : { not_listed: unlisted }),
      ...(missing.length === 0 ? {} : { silent_nodes: missing }),
    };
  });

  server.delete("/connections/:id", described(CLOSE_ONE), async (request, reply) => {
    const { who, record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    if (!sockets.closeConnection(id)) {
      const { given } = await askNodes(cluster, CLOSE, { id });
      if (![...given.values()].includes(true)) throw notFound(`There is no connection ${JSON.stringify(id)}`);
    }
    request.log.info({ by: who, connection: id }, "connection closed by an operator");
    record("connection.close", id);
    return reply.code(204).send();
  });
}

function ofNode(node: string, connections: readonly ConnectionInfo[]): (ConnectionInfo & { node: string })[] {
  return connections.map((connection) => ({ ...connection, node }));
}
