import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { MAX_LISTED_SESSIONS } from "../../auth/sessions.ts";
import { SESSION_ID, userIdSchema } from "../../auth/tokens.ts";
import { type Caller, demand } from "../callers.ts";
import { notFound } from "../errors.ts";
import { readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const paramsSchema = z.object({ id: userIdSchema });
const sessionParamsSchema = paramsSchema.extend({
  session: z.string().regex(SESSION_ID, "must be the session_id of a session"),
});
const sessionSchema = z.object({
  session_id: z.string(),
  opened_at: timestampSchema,
  used_at: timestampSchema.describe("The last login or refresh"),
  address: z.string().optional().describe("Of the last login or refresh"),
  user_agent: z.string().optional().describe("Of the last login or refresh"),
  current: z.boolean().describe("Whether the token of the request belongs to it"),
});

const group = "Sessions and own account";
const WHO: RouteDescription = {
  ...{ group, summary: "Who the token belongs to, and what it may do", needsToken: true },
  responses: {
    200: {
      is: "The owner of the token",
      json: z.object({
        kind: z.enum(["user", "operator"]).describe("`operator`: the operator key"),
        user_id: z.string().optional().describe("Absent for the operator key"),
        permissions: z.array(z.string()),
        session_id: z.string().optional().describe("Absent unless the token is from a login"),
        role: z.string().optional().describe("The role of the account"),
      }),
    },
  },
};
const LIST: RouteDescription = {
  ...{ group, summary: "The sessions of a user", path: paramsSchema, permissions: ["admin"] },
  responses: {
    200: {
      is: "The sessions, last used first",
      json: z.object({ sessions: z.array(sessionSchema), total: z.number() }),
    },
  },
};
const END: RouteDescription = {
  ...{ group, summary: "Ends a session", path: sessionParamsSchema, permissions: ["admin"] },
  responses: { 204: { is: "The session has ended, and its connections are closed" } },
  errors: ["404 not_found", "409 limit"],
};

/** `GET /auth/me`, and `GET /users/{id}/sessions` and `DELETE /users/{id}/sessions/{session}`: for admins and the user. */
export function ownAccountRoutes(server: FastifyInstance, services: Services): void {
  const { callers, authority, audit, addressOf } = services;
  const { accounts, sessions } = authority;

  server.get("/auth/me", described(WHO), async (request) => {
    const { kind, userId, sessionId, grants } = callers.of(request);
    const role = sessionId === undefined || userId === undefined ? undefined : accounts.get(userId)?.role;
    return {
      kind,
      ...(userId === undefined ? {} : { user_id: userId }),
      permissions: grants.permissions,
      ...(sessionId === undefined ? {} : { session_id: sessionId }),
      ...(role === undefined ? {} : { role }),
    };
  });

  server.get("/users/:id/sessions", described(LIST), async (request) => {
    const { caller, userId } = ownerOrAdmin(request);
    const all = await sessions.list(userId);
    const listed = all.slice(0, MAX_LISTED_SESSIONS).map(({ sessionId, openedAt, usedAt, address, userAgent }) => ({
      session_id: sessionId,
      opened_at: new Date(openedAt).toISOString(),
      used_at: new Date(usedAt).toISOString(),
      ...(address === undefined ? {} : { address }),
      ...(userAgent === undefined ? {} : { user_agent: userAgent }),
      current: sessionId === caller.sessionId,
    }));
    return { sessions: listed, total: all.length };
  });

  server.delete("/users/:id/sessions/:session", described(END), async (request, reply) => {
    const { caller, userId } = ownerOrAdmin(request);
    const { session } = readPath(sessionParamsSchema, request);
    if (!(await sessions.list(userId)).some(({ sessionId }) => sessionId === session))
      throw notFound(`There is no session ${session} of ${JSON.stringify(userId)}`);
    await sessions.revoke(session);
    const address = addressOf(request.raw);
    audit.record({ action: "session.end", who: caller.name, address, target: `session:${session}`, outcome: "done" });
    return reply.code(204).send();
  });

  /** A token that an operator minted in a user's name does not count as the user. @throws {RequestError} 401, 403 */
  function ownerOrAdmin(request: FastifyRequest): { caller: Caller; userId: string } {
    const caller = callers.of(request);
    const { id: userId } = readPath(paramsSchema, request);
    demand(caller.grants.admin || (caller.sessionId !== undefined && caller.userId === userId), "admin");
    return { caller, userId };
  }
}
