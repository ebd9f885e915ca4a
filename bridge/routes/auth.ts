import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { MAX_PASSWORD_LENGTH } from "../accounts/passwords.ts";
import type { Revocation } from "../accounts/revocations.ts";
import { type Login, RefreshRacedError, RefreshReusedError } from "../accounts/sessions.ts";
import { OPEN_TOKEN_TTL_SECONDS } from "../config.ts";
import { badRequest, forbidden, toHttp, unauthorized } from "../errors.ts";
import { permissionsSchema, SESSION_ID, userIdSchema } from "../tokens.ts";
import { demand } from "./callers.ts";
import { read } from "./request-body.ts";
import { perMinute, type Services } from "./services.ts";

const bodySchema = z.object({
  user_id: userIdSchema,
  permissions: permissionsSchema,
  /** Seconds; longer than the server allows is shortened, and the answer says to what. */
  expires_in: z.number().int().positive().optional(),
});
const loginSchema = z.object({
  user_id: userIdSchema,
  // One that is too short is simply not right: whoever guesses learns no rules here.
  password: z.string().max(MAX_PASSWORD_LENGTH, `must have at most ${MAX_PASSWORD_LENGTH} characters`),
});
const refreshSchema = z.object({ refresh_token: z.string().max(256) });
const revokeSchema = z.strictObject({
  token_id: z.string().min(1).max(128).optional(),
  session_id: z.string().regex(SESSION_ID, "must be the sid of a token of an account").optional(),
  user_id: userIdSchema.optional(),
  issued_before: z.iso
    .datetime({ offset: true, error: "must be a time such as 2026-03-01T06:30:00Z" })
    .transform((text) => Date.parse(text))
    .optional(),
});

/** How far ahead the clock of who revokes may be, milliseconds. */
const CLOCK_SKEW_MS = 60_000;

/**
 * `POST /auth/token`: for the operator key, or on this machine while nobody else can reach the server.
 * `POST /auth/login`, `/auth/refresh`, `/auth/logout`: for those who have an account.
 * `POST /auth/revoke`: for the operator key or an admin.
 */
export function authRoutes(server: FastifyInstance, services: Services): void {
  const { callers, authority, guard, audit, stats, http, addressOf } = services;
  const { accounts, sessions, revocations } = authority;
  const limited = perMinute(http.maxTokenRequestsPerMinute);

  server.post("/auth/token", limited, async (request) => {
    const caller = callers.orLocal(request);
    if (caller.kind === "user") throw forbidden("Tokens are minted with the operator key, not with a token");
    const { user_id, permissions, expires_in } = read(bodySchema, request.body);
    const longest = caller.kind === "local" ? OPEN_TOKEN_TTL_SECONDS : http.tokenTtlSeconds;
    const ttlSeconds = Math.min(expires_in ?? longest, longest);
    const { token, tokenId } = authority.mint({ userId: user_id, permissions, ttlSeconds });
    stats.add("tokens_minted");
    const target = `user:${user_id} token:${tokenId} ${permissions.join(" ")}`;
    audit.record({ action: "token.mint", who: caller.name, address: addressOf(request.raw), target, outcome: "done" });
    return { token, user_id, expires_in: ttlSeconds };
  });

  server.post("/auth/login", limited, async (request) => {
    const { user_id, password } = read(loginSchema, request.body);
    const address = addressOf(request.raw);
    const note = (outcome: string, target = "") =>
      audit.record({ action: "login", who: `user:${user_id}`, address, target, outcome });
    try {
      // Whoever has one address of an IPv6 network has them all.
      const attempt = { userId: user_id, address: rateLimit.normalizeIP(address) };
      const account = await guard.attempt(attempt, () => accounts.verify(user_id, password));
      if (account === undefined) throw unauthorized("No such user, or another password");
      const login = await sessions.open(account);
      note("done", sessionOf(login));
      stats.add("tokens_minted");
      return answerOf(login);
    } catch (error) {
      note(toHttp(error).body.error.code);
      throw error;
    }
  });

  server.post("/auth/refresh", limited, async (request) => {
    const { refresh_token } = read(refreshSchema, request.body);
    const address = addressOf(request.raw);
    try {
      const login = await sessions.refresh(refresh_token);
      stats.add("tokens_minted");
      return answerOf(login);
    } catch (error) {
      const { session } = error instanceof RefreshReusedError ? error : { session: undefined };
      const who = session === undefined ? "unknown" : `user:${session.userId}`;
      const target = session === undefined ? "" : `session:${session.sessionId}`;
      const outcome = session === undefined ? toHttp(error).body.error.code : "reused";
      if (!(error instanceof RefreshRacedError)) audit.record({ action: "refresh", who, address, target, outcome });
      throw error;
    }
  });

  server.post("/auth/logout", limited, async (request, reply) => {
    const { refresh_token } = read(refreshSchema, request.body);
    const ended = await sessions.end(refresh_token);
    if (ended !== undefined) {
      const target = `session:${ended.sessionId}`;
      const address = addressOf(request.raw);
      audit.record({ action: "logout", who: `user:${ended.userId}`, address, target, outcome: "done" });
    }
    // Whoever wants to be out is out.
    return reply.code(204).send();
  });

  server.post("/auth/revoke", async (request, reply) => {
    const caller = callers.of(request);
    demand(caller.grants.admin, "admin");
    const revocation = revocationOf(read(revokeSchema, request.body));
    await revocations.add(revocation);
    audit.record({
      ...{ action: "token.revoke", who: caller.name, address: addressOf(request.raw), outcome: "done" },
      target: Object.values(revocation).join(" "),
    });
    return reply.code(204).send();
  });
}

function answerOf({ token, userId, permissions, expiresIn, refreshToken, refreshExpiresIn }: Login) {
  return {
    token,
    user_id: userId,
    permissions,
    expires_in: expiresIn,
    refresh_token: refreshToken,
    refresh_expires_in: refreshExpiresIn,
  };
}

function sessionOf({ sessionId }: Login): string {
  return `session:${sessionId}`;
}

/** @throws {RequestError} 400 when it does not name one thing */
function revocationOf(asked: z.output<typeof revokeSchema>): Revocation {
  const { token_id, session_id, user_id, issued_before: issuedBefore } = asked;
  const named = [token_id, session_id, user_id].filter((id) => id !== undefined);
  if (named.length > 1) throw badRequest("The body names more than one of token_id, session_id and user_id");
  if (issuedBefore !== undefined && issuedBefore > Date.now() + CLOCK_SKEW_MS)
    throw badRequest("The body is not right: issued_before must not be in the future");
  if (issuedBefore !== undefined && (token_id ?? session_id) !== undefined)
    throw badRequest("The body is not right: issued_before goes with user_id, or alone for all users");
  if (token_id !== undefined) return { kind: "token", id: token_id };
  if (session_id !== undefined) return { kind: "session", id: session_id };
  if (user_id !== undefined) return { kind: "user", id: user_id, issuedBefore };
  if (issuedBefore !== undefined) return { kind: "everybody", issuedBefore };
  throw badRequest("The body must name token_id, session_id, user_id or issued_before");
}
