import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import jsonwebtoken from "jsonwebtoken";
import { Provider } from "oidc-provider";
import { z } from "zod";

export const CLIENT_ID = "skylapse";
export const CLIENT_SECRET = "client-secret-of-the-tests";

export interface OidcProviderOptions {
  redirectUrl: string;
  /** The groups of each user. Any name can sign in. */
  groups?: Readonly<Record<string, readonly string[]>>;
  /** Whether the ID token contains the groups. Otherwise only the user info does. Default: true. */
  groupsInToken?: boolean;
  /** How far the provider's clock is behind in its ID tokens. Default: 0. */
  behindSeconds?: number;
  /** The answers of this path have this many blanks at their end, which JSON allows. Default: none. */
  padded?: { path: string; bytes: number };
}

export interface OidcProvider {
  issuer: string;
  /** The settings of a server that uses the provider. */
  env: Record<string, string>;
  /** The requests for tokens. */
  readonly tokenRequests: number;
  stop(): Promise<void>;
}

/** A real identity provider on a free port of this machine. Its form asks for a user name, and for no password. */
export async function startOidcProvider(options: OidcProviderOptions): Promise<OidcProvider> {
  const { redirectUrl, groups = {}, groupsInToken = true, behindSeconds = 0, padded } = options;
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const issuer = `http://127.0.0.1:${address.port}`;
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const provider = new Provider(issuer, {
    clients: [
      {
        ...{ client_id: CLIENT_ID, client_secret: CLIENT_SECRET, redirect_uris: [redirectUrl] },
        id_token_signed_response_alg: "ES256",
      },
    ],
    enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
    claims: { openid: ["sub"], profile: ["name"], groups: ["groups"] },
    scopes: ["openid", "profile", "groups"],
    conformIdTokenClaims: !groupsInToken,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    cookies: { keys: ["a key of the tests"] },
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "ES256" }] },
    ttl: { IdToken: 3600, AccessToken: 3600, Session: 3600, Interaction: 600, Grant: 3600 },
    interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    findAccount: (_context: unknown, sub: string) => ({
      accountId: sub,
      claims: () => ({ sub, name: `${sub[0]?.toUpperCase()}${sub.slice(1)} Example`, groups: groups[sub] ?? [] }),
    }),
  });
  provider.on("server_error", (_context, error) => console.error(error));
  let tokenRequests = 0;
  const handle = provider.callback();
  server.on("request", (request, response) => {
    if (padded !== undefined && request.url === padded.path)
      changeBody(response, (body) => body + " ".repeat(padded.bytes));
    if (request.url === "/token") {
      tokenRequests++;
      if (behindSeconds !== 0) changeBody(response, (body) => withOlderToken(body, behindSeconds, privateKey));
    }
    if (!request.url?.startsWith("/interaction/")) return handle(request, response);
    interact(provider, request, response).catch((error) => response.writeHead(500).end(String(error)));
  });
  return {
    issuer,
    env: {
      ...{ OIDC_ISSUER: issuer, OIDC_CLIENT_ID: CLIENT_ID, OIDC_CLIENT_SECRET: CLIENT_SECRET },
      ...{ OIDC_REDIRECT_URL: redirectUrl, OIDC_SCOPES: "openid profile groups" },
      OIDC_GROUP_ROLES: "sky-admins=admin,sky-guests=viewer",
    },
    get tokenRequests() {
      return tokenRequests;
    },
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** Changes the body of the response that the provider sends. */
function changeBody(response: ServerResponse, change: (body: string) => string): void {
  const end = response.end.bind(response);
  response.end = (...given: unknown[]) => {
    const body = change(String(given[0]));
    return end(response.setHeader("content-length", Buffer.byteLength(body)) && body);
  };
}

function withOlderToken(body: string, seconds: number, key: KeyObject): string {
  const answer: { id_token: string } = JSON.parse(body);
  const claims = z.looseObject({ iat: z.number(), exp: z.number() }).parse(jsonwebtoken.decode(answer.id_token));
  const older = { ...claims, iat: claims.iat - seconds, exp: claims.exp - seconds };
  return JSON.stringify({ ...answer, id_token: jsonwebtoken.sign(older, key, { algorithm: "ES256" }) });
}

async function interact(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { uid, prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "consent") {
    const grant = new provider.Grant({ accountId: session?.accountId ?? "", clientId: String(params.client_id) });
    grant.addOIDCScope(String(params.scope));
    await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
    return;
  }
  if (request.method !== "POST") {
    response.setHeader("content-type", "text/html; charset=utf-8").end(`<!doctype html><title>Provider</title>
      <form method="post" action="/interaction/${uid}"><label>User <input name="user" autofocus></label>
      <button name="answer" value="sign in">Sign in</button><button name="answer" value="deny">Deny</button></form>`);
    return;
  }
  const form = new URLSearchParams(await text(request));
  const denied = { error: "access_denied", error_description: "The user refused" };
  const result = form.get("answer") === "deny" ? denied : { login: { accountId: form.get("user") } };
  await provider.interactionFinished(request, response, result);
}
