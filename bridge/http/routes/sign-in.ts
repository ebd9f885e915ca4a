import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { SIGN_IN_FRAGMENT, type SignInReason } from "../../../contract/sign-in.ts";
import type { Account } from "../../auth/accounts.ts";
import { OIDC_CALLBACK_PATH } from "../../auth/oidc-config.ts";
import {
  createSignInValues,
  FLOW_TTL_SECONDS,
  HANDOVER_TTL_SECONDS,
  type Handover,
  SignInError,
} from "../../auth/sign-in.ts";
import { isProvided } from "../../auth/tokens.ts";
import { cookieNames, cookieOf, cookieText } from "../cookies.ts";
import { notFound, toHttp, unauthorized } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { MAX_STRANGER_BODY_BYTES } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";
import { loggedInSchema, responseOf, sessionOf } from "./auth.ts";

const FLOW_COOKIE = "skylapse_sign_in_";
const IS_FLOW_COOKIE = /^skylapse_sign_in_[0-9a-f]{12}$/;
const HANDOVER_COOKIE = "skylapse_signed_in";
const COOKIE_PATH = "/auth/oidc";
/**
 * The unfinished sign-ins of one browser. A page of another site can begin any number of them, and with some 40 cookies
 * Node.js refuses the headers of every later sign-in.
 */
const MAX_FLOWS = 8;

const methodsSchema = z.object({
  password: z.boolean().describe("Whether an account with a password exists"),
  oidc: z.object({ name: z.string() }).optional().describe("The identity provider; absent without `OIDC_ISSUER`"),
});

const group = "Log in, tokens, revocation";
const METHODS: RouteDescription = {
  ...{ group, summary: "The ways in which a person can sign in" },
  responses: { 200: { is: "The ways", json: methodsSchema } },
};
const START: RouteDescription = {
  ...{ group, summary: "Sends the browser to the identity provider" },
  responses: {
    303: { is: "The address is in `Location`: the provider's, or the page's with the reason of a failure" },
  },
  errors: ["404 not_found"],
};
const CALLBACK: RouteDescription = {
  ...{ group, summary: "Where the identity provider sends the browser back" },
  responses: { 303: { is: "The page's address, with the outcome in its fragment" } },
  errors: ["404 not_found"],
};
const SESSION: RouteDescription = {
  ...{ group, summary: "Begins the login of a user that the identity provider has signed in" },
  responses: { 200: { is: "The tokens of the login", json: loggedInSchema } },
  errors: ["401 unauthorized", "404 not_found"],
};

/**
 * `GET /auth/methods`, and the sign-in with an identity provider: `GET /auth/oidc/start` → the provider → `GET
 * /auth/oidc/callback` → the page → `POST /auth/oidc/session`. Signed cookies carry the state, so any node can serve
 * each step, and no token and no code of ours is in an address.
 */
export function signInRoutes(server: FastifyInstance, services: Services): void {
  const { signIn, authority, audit, stats, http, addressOf } = services;
  const { accounts, revocations, sessions } = authority;
  const limited = perMinute(http.maxTokenRequestsPerMinute);

  server.get("/auth/methods", described(METHODS), async (_request, reply) => {
    reply.header("cache-control", "no-store");
    return {
      password: accounts.list().some(({ userId }) => !isProvided(userId)),
      ...(signIn === undefined ? {} : { oidc: { name: signIn.config.name } }),
    };
  });

  const { flows, handovers } = createSignInValues(services.signing);

  /** @throws {RequestError} 404 there is no identity provider */
  function provider() {
    if (signIn === undefined) throw notFound("This server has no identity provider: set OIDC_ISSUER");
    const { redirectUrl } = signIn.config;
    // Behind a proxy, the page may have a path of its own.
    const base = redirectUrl.pathname.slice(0, -OIDC_CALLBACK_PATH.length);
    const page = `${redirectUrl.origin}${base}/`;
    const cookie = { path: `${base}${COOKIE_PATH}`, isSecure: redirectUrl.protocol === "https:" };
    return { signIn, page, cookie };
  }

  function sendToPage(reply: FastifyReply, page: string, outcome: "done" | SignInReason) {
    return reply.redirect(`${page}#${SIGN_IN_FRAGMENT}=${outcome}`, 303);
  }

  function recordFailure(request: FastifyRequest, reason: SignInReason): void {
    const address = addressOf(request.raw);
    audit.refuse({ action: "login", who: "unknown", address, target: "identity provider", outcome: reason });
  }

  server.get("/auth/oidc/start", described(START, limited), async (request, reply) => {
    reply.header("cache-control", "no-store");
    const { signIn, page, cookie } = provider();
    try {
      const { url, flow } = await signIn.begin();
      const options = { ...cookie, maxAgeSeconds: FLOW_TTL_SECONDS, sameSite: "Lax" } as const;
      const begun = cookieText(flowCookie(flow.state), flows.seal(flow), options);
      // A browser sends the oldest cookie first (RFC 6265, section 5.4).
      const ended = cookieNames(request, IS_FLOW_COOKIE).slice(0, 1 - MAX_FLOWS);
      reply.header("set-cookie", [
        ...ended.map((name) => cookieText(name, "", { ...options, maxAgeSeconds: 0 })),
        begun,
      ]);
      return reply.redirect(url.href, 303);
    } catch (error) {
      const reason = failureOf(error, request);
      recordFailure(request, reason);
      return sendToPage(reply, page, reason);
    }
  });

  server.get(OIDC_CALLBACK_PATH, described(CALLBACK, limited), async (request, reply) => {
    reply.header("cache-control", "no-store");
    const { signIn, page, cookie } = provider();
    const query = new URL(request.url, page).searchParams;
    const name = flowCookie(query.get("state") ?? "");
    try {
      const flow = flows.open(cookieOf(request, name) ?? "");
      if (flow === undefined) throw new SignInError("expired");
      const { userId, generation } = await signIn.finish(query, flow);
      const options = { ...cookie, maxAgeSeconds: HANDOVER_TTL_SECONDS, sameSite: "Strict" } as const;
      reply.header("set-cookie", [
        cookieText(name, "", { ...cookie, maxAgeSeconds: 0, sameSite: "Lax" }),
        cookieText(
          HANDOVER_COOKIE,
          handovers.seal({ userId, generation, issuedAt: revocations.issueTime(userId) }),
          options,
        ),
      ]);
      return sendToPage(reply, page, "done");
    } catch (error) {
      const reason = failureOf(error, request);
      recordFailure(request, reason);
      return sendToPage(reply, page, reason);
    }
  });

  /** Undefined if the user was removed or disabled since the sign-in, or the user's tokens were revoked. */
  async function currentAccount({ userId, generation, issuedAt }: Handover): Promise<Account | undefined> {
    // Another node may have served the callback, and made the account a moment ago.
    if (accounts.get(userId)?.generation !== generation) await accounts.refresh(userId);
    const account = accounts.get(userId);
    const isRevoked = revocations.covers({ userId, tokenId: undefined, sessionId: undefined, issuedAt });
    return account?.enabled === true && account.generation === generation && !isRevoked ? account : undefined;
  }

  const sessionOptions = { ...limited, bodyLimit: Math.min(MAX_STRANGER_BODY_BYTES, http.maxBodyBytes) };
  server.post("/auth/oidc/session", described(SESSION, sessionOptions), async (request, reply) => {
    const { signIn, cookie } = provider();
    reply.header("cache-control", "no-store");
    reply.header("set-cookie", cookieText(HANDOVER_COOKIE, "", { ...cookie, maxAgeSeconds: 0, sameSite: "Strict" }));
    const handover = handovers.open(cookieOf(request, HANDOVER_COOKIE) ?? "");
    const account = handover === undefined ? undefined : await currentAccount(handover);
    if (account === undefined)
      throw unauthorized("This browser did not sign in with the identity provider in the last minute: sign in again");
    const address = addressOf(request.raw);
    const origin = { address, userAgent: request.headers["user-agent"] };
    const login = await sessions.open(account, origin, signIn.config.sessionTtlSeconds);
    const who = `user:${login.userId}`;
    audit.record({ action: "login", who, address, target: sessionOf(login), outcome: "done" });
    stats.add("tokens_minted");
    return responseOf(login);
  });
}

/** Each attempt has a cookie of its own, so that two tabs do not disturb each other. */
function flowCookie(state: string): string {
  return `${FLOW_COOKIE}${createHash("sha256").update(state).digest("hex").slice(0, 12)}`;
}

/** The browser shows the page in any case, so an error of the server becomes a reason too, and a line in the log. */
function failureOf(error: unknown, request: FastifyRequest): SignInReason {
  if (error instanceof SignInError) return error.reason;
  const { statusCode } = toHttp(error);
  request.log.error({ err: error, statusCode }, "sign-in failed");
  return "failed";
}
