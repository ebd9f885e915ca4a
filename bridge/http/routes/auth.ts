import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { networkOf } from "../../../platform/addresses.ts";
import { MAX_PASSWORD_LENGTH } from "../../auth/passwords.ts";
import { type Login, RefreshReusedError, type SessionName } from "../../auth/sessions.ts";
import { userIdSchema } from "../../auth/tokens.ts";
import { RequestError, toHttp } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { MAX_STRANGER_BODY_BYTES, readBody } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const loginSchema = z.object({
  user_id: userIdSchema,
  // A short password is simply wrong: a guesser must not learn the rules here.
  password: z.string().max(MAX_PASSWORD_LENGTH, `must have at most ${MAX_PASSWORD_LENGTH} characters`),
});
const refreshSchema = z.object({ refresh_token: z.string().max(256) });
export const loggedInSchema = z.object({
  token: z.string().describe("The access token"),
  user_id: z.string(),
  permissions: z.array(z.string()),
  expires_in: z.number().describe("Life of `token`, seconds"),
  refresh_token: z.string().describe("Valid for one refresh"),
  refresh_expires_in: z.number().describe("Life of `refresh_token`, seconds"),
});

const group = "Log in, tokens, revocation";
const LOGIN: RouteDescription = {
  ...{ group, summary: "Begins a login", body: loginSchema },
  responses: { 200: { is: "The tokens of the login", json: loggedInSchema } },
  errors: ["401 unauthorized", "429 too_many_failures"],
};
const REFRESH: RouteDescription = {
  ...{ group, summary: "Renews a login", body: refreshSchema },
  responses: { 200: { is: "The new tokens of the login", json: loggedInSchema } },
  errors: ["401 unauthorized"],
};
const LOGOUT: RouteDescription = {
  ...{ group, summary: "Ends a login", body: refreshSchema },
  responses: { 204: { is: "The login has ended, or there was none" } },
};

/** `POST /auth/login`, `POST /auth/refresh` and `POST /auth/logout`: for people with an account. */
export function authRoutes(server: FastifyInstance, services: Services): void {
  const { authority, guard, audit, stats, http, addressOf } = services;
  const { accounts, sessions } = authority;
  const bodyLimit = Math.min(MAX_STRANGER_BODY_BYTES, http.maxBodyBytes);
  const limited = { ...perMinute(http.maxTokenRequestsPerMinute), bodyLimit };

  server.post("/auth/login", described(LOGIN, limited), async (request) => {
    const { user_id, password } = readBody(loginSchema, request.body);
    const address = addressOf(request.raw);
    const entry = { action: "login", who: `user:${user_id}`, address, target: "" } as const;
    try {
      const attempt = { userId: user_id, address: networkOf(address) };
      const account = await guard.attempt(attempt, () => accounts.verify(user_id, password));
      if (account === undefined) throw new RequestError(401, "unauthorized", "Wrong user name or password");
      const login = await sessions.open(account, { address, userAgent: request.headers["user-agent"] });
      audit.record({ ...entry, target: sessionOf(login), outcome: "done" });
      stats.add("tokens_minted");
      return responseOf(login);
    } catch (error) {
      const outcome = toHttp(error).body.error.code;
      // The guard allows few attempts, so each is recorded. Logins that the guard refuses may be a flood.
      if (error instanceof RequestError) audit.record({ ...entry, outcome });
      else audit.refuse({ ...entry, outcome });
      throw error;
    }
  });

  server.post("/auth/refresh", described(REFRESH, limited), async (request) => {
    const { refresh_token } = readBody(refreshSchema, request.body);
    const address = addressOf(request.raw);
    try {
      const login = await sessions.refresh(refresh_token, { address, userAgent: request.headers["user-agent"] });
      guard.recordRefresh({ userId: login.userId, address: networkOf(address) });
      stats.add("tokens_minted");
      const who = `user:${login.userId}`;
      audit.record({ action: "refresh", who, address, target: sessionOf(login), outcome: "done" });
      return responseOf(login);
    } catch (error) {
      const entry = { action: "refresh", address } as const;
      if (error instanceof RefreshReusedError) {
        const { session } = error;
        audit.record({ ...entry, who: `user:${session.userId}`, target: sessionOf(session), outcome: "reused" });
      } else audit.refuse({ ...entry, who: "unknown", target: "", outcome: toHttp(error).body.error.code });
      throw error;
    }
  });

  server.post("/auth/logout", described(LOGOUT, limited), async (request, reply) => {
    const { refresh_token } = readBody(refreshSchema, request.body);
    const ended = await sessions.end(refresh_token);
    if (ended !== undefined) {
      const who = `user:${ended.userId}`;
      const address = addressOf(request.raw);
      audit.record({ action: "logout", who, address, target: sessionOf(ended), outcome: "done" });
    }
    // An unknown refresh token is no error: its bearer is logged out anyway.
    return reply.code(204).send();
  });
}

/** A login in responses. */
export function responseOf({ token, userId, permissions, expiresIn, refreshToken, refreshExpiresIn }: Login) {
  return {
    token,
    user_id: userId,
    permissions,
    expires_in: expiresIn,
    refresh_token: refreshToken,
    refresh_expires_in: refreshExpiresIn,
  };
}

/** For the audit log. */
export function sessionOf({ sessionId }: SessionName): string {
  return `session:${sessionId}`;
}
