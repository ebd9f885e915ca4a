import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { SETUP_NEEDS, type SetupNeed } from "../../../contract/setup.ts";
import { networkOf } from "../../../platform/addresses.ts";
import { sameSecret } from "../../../platform/same-secret.ts";
import type { Account } from "../../auth/accounts.ts";
import { passwordSchema } from "../../auth/passwords.ts";
import { ownUserIdSchema } from "../../auth/tokens.ts";
import { RequestError, toHttp, unauthorized } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { MAX_STRANGER_BODY_BYTES, readBody } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";
import { loggedInSchema, responseOf } from "./auth.ts";

const adminSchema = z.strictObject({
  code: z.string().max(256).describe("The set-up code that the start of the server shows, or the operator key"),
  user_id: ownUserIdSchema,
  password: passwordSchema,
});

const group = "First run";
const SETUP: RouteDescription = {
  ...{ group, summary: "What a new server lacks" },
  responses: {
    200: {
      is: "What is missing",
      json: z.object({
        needs: z
          .array(z.enum(SETUP_NEEDS))
          .describe("`admin`: no account may do everything; `camera`: no camera is registered. Empty in trial mode"),
        has_accounts: z.boolean().describe("Whether anyone can log in with a password"),
        trial: z.boolean().describe("Whether simulated cameras run and this machine needs no token"),
      }),
    },
  },
};
const ADMIN: RouteDescription = {
  ...{ group, summary: "Adds the first admin, and logs in", body: adminSchema },
  responses: { 201: { is: "The tokens of the admin's login", json: loggedInSchema } },
  errors: ["401 unauthorized", "409 conflict", "409 user_exists", "409 limit", "429 too_many_failures"],
};

/** `GET /setup` and `POST /setup/admin`: for the page of a server that nobody can log in to yet. */
export function setupRoutes(server: FastifyInstance, services: Services): void {
  const { authority, audit, guard, http, stats, addressOf, operatorKey, isTrial } = services;
  const { accounts, devices, sessions, setupCode } = authority;
  const bodyLimit = Math.min(MAX_STRANGER_BODY_BYTES, http.maxBodyBytes);

  server.get("/setup", described(SETUP), async (_request, reply) => {
    reply.header("cache-control", "no-store");
    const hasCamera = devices.list().some(({ kind }) => kind === "camera");
    const lacks: Record<SetupNeed, boolean> = { admin: setupCode.isNeeded, camera: !hasCamera };
    const trial = isTrial();
    return {
      needs: trial ? [] : SETUP_NEEDS.filter((need) => lacks[need]),
      has_accounts: accounts.list().length > 0,
      trial,
    };
  });

  /** @returns undefined for a wrong code; otherwise what makes the code valid again */
  async function redeem(code: string): Promise<(() => Promise<void>) | undefined> {
    if (operatorKey !== undefined && sameSecret(code, operatorKey)) return async () => undefined;
    return await setupCode.redeem(code);
  }

  async function addAdmin(userId: string, password: string, giveBack: () => Promise<void>): Promise<Account> {
    try {
      return await accounts.create({ userId, password, powers: { role: "admin" } });
    } catch (error) {
      await giveBack();
      throw error;
    }
  }

  const limited = { ...perMinute(http.maxTokenRequestsPerMinute), bodyLimit };
  server.post("/setup/admin", described(ADMIN, limited), async (request, reply) => {
    const { code, user_id: userId, password } = readBody(adminSchema, request.body);
    const address = addressOf(request.raw);
    const entry = { action: "user.create", who: "setup", address, target: `user:${userId}` } as const;
    try {
      if (!setupCode.isNeeded) throw adminExists();
      // Guesses of strangers elsewhere must not lock out the operator, so each network is counted by itself.
      const network = networkOf(address);
      const attempt = { userId: `setup ${network}`, address: network };
      const giveBack = await guard.attempt(attempt, () => redeem(code));
      if (giveBack === undefined) {
        // Another node may have added the admin a moment ago.
        await accounts.refresh();
        if (!setupCode.isNeeded) throw adminExists();
        throw unauthorized("Wrong set-up code: the start of the server shows it in its log");
      }
      const account = await addAdmin(userId, password, giveBack);
      await setupCode.discard();
      audit.record({ ...entry, outcome: "role admin" });
      stats.add("tokens_minted");
      return reply
        .code(201)
        .send(responseOf(await sessions.open(account, { address, userAgent: request.headers["user-agent"] })));
    } catch (error) {
      audit.refuse({ ...entry, outcome: toHttp(error).body.error.code });
      throw error;
    }
  });
}

const adminExists = () => new RequestError(409, "conflict", "There is an admin already: log in");
