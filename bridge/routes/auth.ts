import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { OPEN_TOKEN_TTL_SECONDS } from "../config.ts";
import { forbidden } from "../errors.ts";
import { permissionsSchema, userIdSchema } from "../tokens.ts";
import { read } from "./request-body.ts";
import { perMinute, type Services } from "./services.ts";

const bodySchema = z.object({
  user_id: userIdSchema,
  permissions: permissionsSchema,
  /** Seconds; longer than the server allows is shortened, and the answer says to what. */
  expires_in: z.number().int().positive().optional(),
});

/** `POST /auth/token`: for the operator key, or on this machine while nobody else can reach the server. */
export function authRoutes(server: FastifyInstance, services: Services): void {
  const { callers, tokens, stats, http, logger } = services;

  server.post("/auth/token", perMinute(http.maxTokenRequestsPerMinute), async (request) => {
    const caller = callers.orLocal(request);
    if (caller.kind === "user") throw forbidden("Tokens are minted with the operator key, not with a token");
    const { user_id, permissions, expires_in } = read(bodySchema, request.body);
    const longest = caller.kind === "local" ? OPEN_TOKEN_TTL_SECONDS : http.tokenTtlSeconds;
    const ttlSeconds = Math.min(expires_in ?? longest, longest);
    const { token, tokenId } = tokens.mint({ userId: user_id, permissions, ttlSeconds });
    stats.add("tokens_minted");
    logger.info(
      { by: caller.name, address: services.addressOf(request.raw), user: user_id, permissions, tokenId },
      "token minted",
    );
    return { token, user_id, expires_in: ttlSeconds };
  });
}
