import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { LOG_LEVELS } from "../../../platform/log-levels.ts";
import { adminOf } from "../callers.ts";
import { readBody } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const levelSchema = z.strictObject({ level: z.enum(LOG_LEVELS) });

const common = { group: "Health and metrics", permissions: ["admin"] };
const responses = { 200: { is: "The log level of this node", json: levelSchema } };
const SHOW: RouteDescription = { ...common, summary: "The log level of this node", responses };
const CHANGE: RouteDescription = {
  ...common,
  summary: "Changes the log level of this node",
  body: levelSchema,
  responses,
};

/**
 * `GET /log-level` and `PUT /log-level`: for admins. A new level applies to this node until its next start, which reads
 * `LOG_LEVEL` again.
 */
export function logLevelRoutes(server: FastifyInstance, { callers, log, audit, addressOf }: Services): void {
  server.get("/log-level", described(SHOW), async (request) => {
    adminOf(callers, request);
    return { level: log.level };
  });

  server.put("/log-level", described(CHANGE), async (request) => {
    const caller = adminOf(callers, request);
    const { level } = readBody(levelSchema, request.body);
    const outcome = `${log.level} to ${level}`;
    log.level = level;
    audit.record({ action: "log.level", who: caller.name, address: addressOf(request.raw), target: "log", outcome });
    return { level };
  });
}
