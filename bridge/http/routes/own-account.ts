import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { networkOf } from "../../../platform/addresses.ts";
import { MAX_PASSWORD_LENGTH, passwordSchema } from "../../auth/passwords.ts";
import { MAX_LISTED_SESSIONS } from "../../auth/sessions.ts";
import { isProvided, SESSION_ID, userIdSchema } from "../../auth/tokens.ts";
import { type Caller, demand } from "../callers.ts";
import { badRequest, forbidden, notFound } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";
import { loggedInSchema, responseOf } from "./auth.ts";

const paramsSchema = z.object({ id: userIdSchema });
const sessionParamsSchema = paramsSchema.extend({
  session: z.string().regex(SESSION_ID, "must be the session_id of a session"),
});
const passwordChangeSchema = z.strictObject({
  // A short password is simply wrong, as at a login.
  current_password: z.string().max(MAX_PASSWORD_LENGTH, `must have at most ${MAX_PASSWORD_LENGTH} characters`),
  password: passwordSchema,
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
        has_password: z
          .boolean()
          .optional()
          .describe("Whether the user signs in here, and not at the identity provider; only for a token of a login"),
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

const END_OTHERS: RouteDescription = {
  ...{ group, summary: "Ends all other sessions of a user", path: paramsSchema, permissions: ["admin"] },
  responses: { 204: { is: "All sessions but that of the request have ended, and their connections are closed" } },
  errors: ["409 limit"],
};
const CHANGE_PASSWORD: RouteDescription = {
  ...{ group, summary: "Changes the user's own password", needsToken: true, body: passwordChangeSchema },
  responses: { 200: { is: "The tokens of a new session: all earlier sessions have ended", json: loggedInSchema } },
  errors: ["403 permission_denied", "409 limit", "429 too_many_failures"],
};

/**
 * `GET /auth/me` and `POST /auth/password`; and for admins and the user: `GET /users/{id}/sessions`, `DELETE
 * /users/{id}/sessions` and `DELETE /users/{id}/sessions/{session}`.
 */
export function ownAccountRoutes(server: FastifyInstance, services: Services): void {
  const { callers, authority, audit, guard, http, stats, addressOf } = services;
  const { accounts, revocations, sessions } = authority;

  server.get("/auth/me", described(WHO), async (request) => {
    const { kind, userId, sessionId, grants } = callers.of(request);
    const role = sessionId === undefined || userId === undefined ? undefined : accounts.get(userId)?.role;
    return {
      kind,
      ...(userId === undefined ? {} : { user_id: userId }),
      permissions: grants.permissions,
      ...(sessionId === undefined ? {} : { session_id: sessionId }),
      ...(role === undefined ? {} : { role }),
      ...(sessionId === undefined || userId === undefined ? {} : { has_password: !isProvided(userId) }),
    };
  });

  server.post(
    "/auth/password",
    described(CHANGE_PASSWORD, perMinute(http.maxTokenRequestsPerMinute)),
    async (request) => {
      const { name: who, userId, sessionId } = callers.of(request);
      const { current_password, password } = readBody(passwordChangeSchema, request.body);
      if (userId === undefined || sessionId === undefined) throw forbidden("This needs a token of a login");
      if (isProvided(userId)) throw badRequest("The identity provider has the user's password: change it there");
      const address = addressOf(request.raw);
      const entry = { action: "password.change", who, address, target: `user:${userId}` } as const;
      // A stolen token must not help to guess the password, so a wrong one counts as a failed login.
      const attempt = { userId, address: networkOf(address) };
      const verified = await guard.attempt(attempt, () => accounts.verify(userId, current_password));
      if (verified === undefined) {
        audit.record({ ...entry, outcome: "refused" });
        throw forbidden("The current password is wrong");
      }
      // First, so that a failed revocation can be retried with the current password.
      await revocations.add({ kind: "user", id: userId });
      const account = await accounts.update(userId, { password });
      const login = await sessions.open(account, { address, userAgent: request.headers["user-agent"] });
      audit.record({ ...entry, outcome: "done" });
      stats.add("tokens_minted");
      return responseOf(login);
    },
  );

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
    await end(session, caller, request);
    return reply.code(204).send();
  });

  server.delete("/users/:id/sessions", described(END_OTHERS), async (request, reply) => {
    const { caller, userId } = ownerOrAdmin(request);
    for (const { sessionId } of await sessions.list(userId))
      if (sessionId !== caller.sessionId) await end(sessionId, caller, request);
    return reply.code(204).send();
  });

  async function end(session: string, { name: who }: Caller, request: FastifyRequest): Promise<void> {
    await sessions.revoke(session);
    const address = addressOf(request.raw);
    audit.record({ action: "session.end", who, address, target: `session:${session}`, outcome: "done" });
  }

  /** A token that an operator minted in a user's name does not count as the user. @throws {RequestError} 401, 403 */
  function ownerOrAdmin(request: FastifyRequest): { caller: Caller; userId: string } {
    const caller = callers.of(request);
    const { id: userId } = readPath(paramsSchema, request);
    demand(caller.grants.admin || (caller.sessionId !== undefined && caller.userId === userId), "admin");
    return { caller, userId };
  }
}
