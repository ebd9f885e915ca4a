import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { Revocation } from "../../auth/revocations.ts";
import { grantedPermissionsSchema, ownUserIdSchema, SESSION_ID, userIdSchema } from "../../auth/tokens.ts";
import { auditedAdmin } from "../callers.ts";
import { badRequest, forbidden, type RequestError } from "../errors.ts";
import { checkPermissions } from "../permission-check.ts";
import { perMinute } from "../protection.ts";
import { readBody, wrongFields } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { OperatorServices } from "../services.ts";

const bodySchema = z.object({
  user_id: ownUserIdSchema,
  permissions: grantedPermissionsSchema,
  /** Seconds. Default: the longest lifetime that the server allows. */
  expires_in: z.number().int().positive().optional(),
});
const revokeSchema = z.strictObject({
  token_id: z.string().min(1).max(128).optional(),
  session_id: z.string().regex(SESSION_ID, "must be the sid of a token of an account").optional(),
  user_id: userIdSchema.optional(),
  issued_before: z.iso
    .datetime({ offset: true, error: "must be a time such as 2026-03-01T06:30:00Z" })
    .transform((text) => Date.parse(text))
    .optional(),
});

const group = "Log in, tokens, revocation";
const MINT: RouteDescription = {
  ...{ group, summary: "Mints a token", permissions: [], openInTrial: true, body: bodySchema },
  responses: {
    200: {
      is: "The token",
      json: z.object({ token: z.string(), user_id: z.string(), expires_in: z.number().describe("Seconds") }),
    },
  },
};
const REVOKE: RouteDescription = {
  ...{ group, summary: "Revokes tokens", permissions: ["admin"], body: revokeSchema },
  responses: { 204: { is: "The tokens are revoked, and their connections closed" } },
  errors: ["409 limit"],
};

/** The longest lifetime of a token that is minted without the operator key. */
const TRIAL_TOKEN_TTL_SECONDS = 900;

const HOW_TO_GET_ONE =
  "Use the operator key: Authorization: Bearer <OPERATOR_KEY>, or npx skylapse token on the server's machine";
const NEEDS_KEY = `Tokens are not minted without a key here. ${HOW_TO_GET_ONE}. People log in at POST /auth/login`;
/** How far the client's clock may be ahead, milliseconds. */
const CLOCK_SKEW_MS = 60_000;

/** `POST /auth/token`: with the operator key, or from this machine in trial mode. `POST /auth/revoke`: for admins. */
export function tokenRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority, audit, stats, http, channels, addressOf } = services;
  const { revocations, sessions } = authority;
  const limited = perMinute(http.maxTokenRequestsPerMinute);

  server.post("/auth/token", described(MINT, limited), async (request) => {
    const caller = callers.orLocal(request, NEEDS_KEY);
    if (caller.kind === "user") throw forbidden("Tokens are minted with the operator key, not with a token");
    const trial = caller.kind === "local";
    const longest = trial ? TRIAL_TOKEN_TTL_SECONDS : http.tokenTtlSeconds;
    const { user_id, permissions, expires_in = longest } = readBody(bodySchema, request.body);
    checkPermissions(permissions, channels);
    if (expires_in > longest) throw tooLong(expires_in, longest, trial);
    if (trial && permissions.includes("admin"))
      throw forbidden(`The permission admin is not granted without a key. ${HOW_TO_GET_ONE}`);
    const { token, tokenId } = authority.mint({ userId: user_id, permissions, ttlSeconds: expires_in, trial });
    stats.add("tokens_minted");
    const target = `user:${user_id} token:${tokenId} ${permissions.join(" ")}`;
    audit.record({ action: "token.mint", who: caller.name, address: addressOf(request.raw), target, outcome: "done" });
    return { token, user_id, expires_in };
  });

  server.post("/auth/revoke", described(REVOKE), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const revocation = revocationOf(readBody(revokeSchema, request.body));
    await (revocation.kind === "session" ? sessions.revoke(revocation.id) : revocations.add(revocation));
    record("token.revoke", textOf(revocation));
    return reply.code(204).send();
  });
}

function tooLong(asked: number, longest: number, trial: boolean): RequestError {
  const reason = trial ? "a token that is minted without a key lives no longer" : "TOKEN_TTL_SECONDS allows no more";
  return wrongFields([{ field: "expires_in", message: `must be at most ${longest}, not ${asked}: ${reason}` }]);
}

/** @throws {RequestError} 400 if the body does not name exactly one thing to revoke */
function revocationOf(asked: z.output<typeof revokeSchema>): Revocation {
  const { token_id, session_id, user_id, issued_before: issuedBefore } = asked;
  const named = [token_id, session_id, user_id].filter((id) => id !== undefined);
  if (named.length > 1) throw badRequest("The body must name only one of `token_id`, `session_id` and `user_id`");
  if (issuedBefore !== undefined && issuedBefore > Date.now() + CLOCK_SKEW_MS)
    throw badRequest("`issued_before` must not be in the future");
  if (issuedBefore !== undefined && (token_id ?? session_id) !== undefined)
    throw badRequest("`issued_before` must stand alone, for all users, or beside `user_id`");
  if (token_id !== undefined) return { kind: "token", id: token_id };
  if (session_id !== undefined) return { kind: "session", id: session_id };
  if (user_id !== undefined) return { kind: "user", id: user_id, issuedBefore };
  if (issuedBefore !== undefined) return { kind: "everybody", issuedBefore };
  throw badRequest("The body must name `token_id`, `session_id`, `user_id` or `issued_before`");
}

function textOf(revocation: Revocation): string {
  const before = "issuedBefore" in revocation ? revocation.issuedBefore : undefined;
  const named = revocation.kind === "everybody" ? "everybody" : `${revocation.kind}:${revocation.id}`;
  return before === undefined ? named : `${named} before ${new Date(before).toISOString()}`;
}
