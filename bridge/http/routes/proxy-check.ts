import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { PROXY_PROBLEMS } from "../../../contract/setup.ts";
import type { ClientAddresses } from "../../../platform/client-addresses.ts";
import type { Origins } from "../../../platform/origins.ts";
import { findProxyProblems } from "../../../platform/proxy-problems.ts";
import { readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const querySchema = z.object({
  origin: z
    .string()
    .max(300, "must have at most 300 characters")
    .describe("The page's origin, as the browser knows it"),
  websocket: z.enum(["failed"]).optional().describe("When the page could not open a WebSocket"),
});
const CHECK: RouteDescription = {
  ...{
    group: "First run",
    summary: "What is wrong with the proxy between the page and the server",
    query: querySchema,
  },
  responses: {
    200: {
      is: "The problems of this request; none without a proxy, or behind one that is set right",
      json: z.object({
        problems: z.array(
          z.object({
            problem: z.enum(PROXY_PROBLEMS),
            message: z.string().describe("What is wrong, and what an operator can do"),
          }),
        ),
      }),
    },
  },
};

interface ProxyCheckServices {
  authority: { setupCode: Pick<Services["authority"]["setupCode"], "isNeeded"> };
  origins: Pick<Origins, "allowsPage" | "targetOf">;
  addresses: Pick<ClientAddresses, "trusts">;
}

/**
 * `GET /setup/proxy?origin=…`, for a page that has no token yet. The answer is about this request only. It names the
 * address of the proxy only while the server has no admin: later the log and `GET /stats` do.
 */
export function proxyCheckRoutes(server: FastifyInstance, services: ProxyCheckServices): void {
  const { authority, origins, addresses } = services;
  server.get("/setup/proxy", described(CHECK), async (request, reply) => {
    const { origin, websocket } = readQuery(querySchema, request);
    reply.header("cache-control", "no-store");
    const check = { origin, webSocketFailed: websocket === "failed", showsAddress: authority.setupCode.isNeeded };
    return { problems: findProxyProblems(check, request.raw, { addresses, origins }) };
  });
}
