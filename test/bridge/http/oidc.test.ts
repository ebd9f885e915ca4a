import { afterEach, describe, expect, it } from "vitest";
import { MAX_PROVIDER_ANSWER_BYTES } from "../../../bridge/auth/provider-fetch.ts";
import { SIGN_IN_FRAGMENT } from "../../../contract/sign-in.ts";
import { CookieBrowser } from "../../support/cookie-browser.ts";
import { type OidcProvider, type OidcProviderOptions, startOidcProvider } from "../../support/oidc-provider.ts";
import { freePort } from "../../support/ports.ts";
import { startTestBridge, type TestBridge, type TestBridgeOptions } from "../support/test-bridge.ts";

const GROUPS = { ada: ["sky-admins", "staff"], bob: ["sky-guests"], eve: ["others"] };

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of running.splice(0).reverse()) await part.stop();
});

interface Scene {
  bridge: TestBridge;
  provider: OidcProvider;
  origin: string;
}

/** The redirect URL is registered at the provider before the server starts, so the port is chosen first. */
async function start(
  given: Partial<OidcProviderOptions> = {},
  { env = {}, ...options }: TestBridgeOptions = {},
): Promise<Scene> {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const redirectUrl = `${origin}/auth/oidc/callback`;
  const provider = await startOidcProvider({ redirectUrl, groups: GROUPS, ...given });
  running.push(provider);
  const bridge = await startTestBridge({ ...options, env: { ...provider.env, WS_PORT: String(port), ...env } });
  running.push(bridge);
  return { bridge, provider, origin };
}

const isPage = (url: URL) => url.hash.startsWith(`#${SIGN_IN_FRAGMENT}=`);

/** Goes to the provider and sends its form. @returns the outcome that the page gets */
async function signIn({ origin }: Pick<Scene, "origin">, user: string, browser = new CookieBrowser()): Promise<string> {
  const form = await browser.open(`${origin}/auth/oidc/start`, {}, isPage);
  if (isPage(form.url)) return outcomeOf(form.url);
  const { url } = await browser.open(form.url.href, formOf(user), isPage);
  return outcomeOf(url);
}

function formOf(user: string): RequestInit {
  const body = new URLSearchParams(user === "" ? { answer: "deny" } : { answer: "sign in", user });
  return { method: "POST", body };
}

const outcomeOf = (url: URL) => url.hash.slice(SIGN_IN_FRAGMENT.length + 2);

async function takeSession({ origin }: Pick<Scene, "origin">, browser: CookieBrowser) {
  const response = await browser.fetch(new URL(`${origin}/auth/oidc/session`), { method: "POST" });
  return { status: response.status, body: await response.json() };
}

describe("sign-in with an identity provider", () => {
  it("gives the page a login with the role of the user's group, which can be refreshed", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    expect(await signIn(scene, "ada", browser)).toBe("done");
    const { status, body } = await takeSession(scene, browser);
    expect(status).toBe(200);
    expect(body).toMatchObject({ user_id: "idp:ada", permissions: ["admin"], expires_in: 900 });
    const users = await scene.bridge.call("/users", { token: body.token });
    expect(users.body.users).toMatchObject([{ user_id: "idp:ada", name: "Ada Example", role: "admin", enabled: true }]);
    const refresh = { method: "POST", body: { refresh_token: body.refresh_token } };
    const renewed = await scene.bridge.call("/auth/refresh", refresh);
    expect(renewed.status).toBe(200);
    expect(renewed.body.permissions).toEqual(["admin"]);
  });

  it("puts no token into an address, and no readable or lasting cookie into the browser", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    await signIn(scene, "ada", browser);
    const { body } = await takeSession(scene, browser);
    const addresses = browser.visited.join("\n");
    expect(addresses).not.toContain(body.token);
    expect(addresses).not.toContain(body.refresh_token);
    expect(addresses).not.toContain("eyJ");
    const own = browser.setCookies.filter((cookie) => cookie.startsWith("skylapse_"));
    expect(own).toHaveLength(4);
    for (const cookie of own) {
      expect(cookie).toMatch(/; Path=\/auth\/oidc; Max-Age=(?:600|60|0); HttpOnly; SameSite=(?:Lax|Strict)$/);
    }
    expect((await takeSession(scene, browser)).status).toBe(401);
  });

  it("asks the user info for groups that the ID token lacks", async () => {
    const scene = await start({ groupsInToken: false });
    const browser = new CookieBrowser();
    expect(await signIn(scene, "bob", browser)).toBe("done");
    const { body } = await takeSession(scene, browser);
    expect(body.permissions).toContain("dashboard:read");
    expect(body.permissions).not.toContain("admin");
  });

  it("takes the new group of a user at the next sign-in", async () => {
    const groups: Record<string, string[]> = { ada: ["sky-admins"] };
    const scene = await start({ groups });
    const first = new CookieBrowser();
    await signIn(scene, "ada", first);
    const { token } = (await takeSession(scene, first)).body;
    groups.ada = ["sky-guests"];
    await signIn(scene, "ada");
    expect((await scene.bridge.call("/users", { token })).status).toBe(403);
  });

  it("ends the login after OIDC_SESSION_TTL_SECONDS, however often it is refreshed", async () => {
    const scene = await start({}, { env: { OIDC_SESSION_TTL_SECONDS: "2" } });
    const browser = new CookieBrowser();
    await signIn(scene, "bob", browser);
    let { body } = await takeSession(scene, browser);
    expect(body.refresh_expires_in).toBeLessThanOrEqual(2);
    await expect
      .poll(
        async () => {
          const renewed = await scene.bridge.call("/auth/refresh", {
            method: "POST",
            body: { refresh_token: body.refresh_token },
          });
          if (renewed.status === 200) body = renewed.body;
          return renewed.status;
        },
        { interval: 250 },
      )
      .toBe(401);
  });

  it("works at any node of a deployment, each step at another one", async () => {
    const scene = await start();
    const other = await startTestBridge({ env: { ...scene.provider.env } });
    running.push(other);
    const browser = new CookieBrowser();
    const form = await browser.open(`http://127.0.0.1:${other.port}/auth/oidc/start`);
    // A load balancer gives both nodes one address. Here the cookie of one node is sent to the other one.
    const cookie = (browser.setCookies.find((text) => text.startsWith("skylapse_")) ?? "").split(";")[0] ?? "";
    const { url } = await browser.open(form.url.href, formOf("ada"), ({ pathname }) => pathname.endsWith("/callback"));
    const answer = await scene.bridge.call(`${url.pathname}${url.search}`, { headers: { cookie } });
    expect(outcomeOf(new URL(String(answer.headers.location)))).toBe("done");
  });
});

describe("a failed sign-in", () => {
  it("says that the user refused", async () => {
    expect(await signIn(await start(), "")).toBe("denied");
  });

  it("says that no group of the user has a role, and keeps no account", async () => {
    const scene = await start();
    expect(await signIn(scene, "eve")).toBe("no_permissions");
    expect(scene.bridge.authority.accounts.list()).toEqual([]);
  });

  it("says that an admin has disabled the user, whose logins end", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    await signIn(scene, "bob", browser);
    const { token } = (await takeSession(scene, browser)).body;
    const admin = scene.bridge.mint("admin");
    const disabled = await scene.bridge.call("/users/idp:bob", {
      method: "PUT",
      token: admin,
      body: { enabled: false },
    });
    expect(disabled.status).toBe(200);
    expect((await scene.bridge.call("/cameras", { token })).status).toBe(401);
    expect(await signIn(scene, "bob")).toBe("disabled");
  });

  it("says that the client secret is wrong", async () => {
    const lines: Record<string, unknown>[] = [];
    const env = { OIDC_CLIENT_SECRET: "another secret" };
    const scene = await start({}, { env, log: (line) => lines.push(line) });
    expect(await signIn(scene, "ada")).toBe("wrong_client");
    expect(lines).toContainEqual(expect.objectContaining({ msg: "sign-in failed", reason: "wrong_client" }));
    expect(JSON.stringify(lines)).not.toContain("another secret");
  });

  it("says that the provider does not answer, at the start and at the end", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    const form = await browser.open(`${scene.origin}/auth/oidc/start`);
    const back = await browser.open(form.url.href, formOf("ada"), ({ pathname }) => pathname.endsWith("/callback"));
    await scene.provider.stop();
    running.splice(running.indexOf(scene.provider), 1);
    expect(outcomeOf((await browser.open(back.url.href, {}, isPage)).url)).toBe("provider_unavailable");
    const away = await startTestBridge({ env: { ...scene.provider.env } });
    running.push(away);
    expect(await signIn({ origin: `http://127.0.0.1:${away.port}` }, "ada")).toBe("provider_unavailable");
  });

  it.each(["/.well-known/openid-configuration", "/token", "/me"])(
    "reads no more than MAX_PROVIDER_ANSWER_BYTES of the provider's answer to %s",
    async (path) => {
      const withSize = (bytes: number) => start({ groupsInToken: false, padded: { path, bytes } });
      expect(await signIn(await withSize(MAX_PROVIDER_ANSWER_BYTES / 2), "ada")).toBe("done");
      expect(await signIn(await withSize(MAX_PROVIDER_ANSWER_BYTES), "ada")).toBe("provider_unavailable");
    },
  );

  it("says that the clocks differ", async () => {
    const scene = await start({ behindSeconds: 7200 });
    expect(await signIn(scene, "ada")).toBe("clock");
  });

  it("refuses an answer without the cookie of the browser, without asking the provider", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    const form = await browser.open(`${scene.origin}/auth/oidc/start`);
    const back = await browser.open(form.url.href, formOf("ada"), ({ pathname }) => pathname.endsWith("/callback"));
    const thief = new CookieBrowser();
    expect(outcomeOf((await thief.open(back.url.href, {}, isPage)).url)).toBe("expired");
    expect(scene.provider.tokenRequests).toBe(0);
    expect((await takeSession(scene, thief)).status).toBe(401);
  });

  it("refuses an answer for another attempt of the same browser", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    const first = await browser.open(`${scene.origin}/auth/oidc/start`);
    const back = await browser.open(first.url.href, formOf("ada"), ({ pathname }) => pathname.endsWith("/callback"));
    const victim = new CookieBrowser();
    await victim.open(`${scene.origin}/auth/oidc/start`);
    expect(outcomeOf((await victim.open(back.url.href, {}, isPage)).url)).toBe("expired");
  });

  it("gives no login to a user whose tokens were revoked after the sign-in", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    await signIn(scene, "bob", browser);
    await scene.bridge.authority.revocations.add({ kind: "user", id: "idp:bob" });
    expect((await takeSession(scene, browser)).status).toBe(401);
    expect(await signIn(scene, "bob", browser)).toBe("done");
    expect((await takeSession(scene, browser)).status).toBe(200);
  });

  it("keeps few cookies in a browser that another site lets begin one sign-in after the other", async () => {
    const { origin } = await start();
    const browser = new CookieBrowser();
    for (let count = 0; count < 20; count++) await browser.fetch(new URL(`${origin}/auth/oidc/start`));
    expect(browser.cookiesFor(new URL(`${origin}/auth/oidc/start`)).split("; ")).toHaveLength(8);
    expect(await signIn({ origin }, "bob", browser)).toBe("done");
  });

  it("accepts a code only once", async () => {
    const scene = await start();
    const browser = new CookieBrowser();
    const form = await browser.open(`${scene.origin}/auth/oidc/start`);
    const back = await browser.open(form.url.href, formOf("ada"), ({ pathname }) => pathname.endsWith("/callback"));
    const [flow = ""] = (browser.setCookies.find((text) => text.startsWith("skylapse_")) ?? "").split(";");
    const path = `${back.url.pathname}${back.url.search}`;
    const answers = [];
    for (let time = 0; time < 2; time++) answers.push(await scene.bridge.call(path, { headers: { cookie: flow } }));
    const outcomes = answers.map(({ headers }) => outcomeOf(new URL(String(headers.location))));
    expect(outcomes).toEqual(["done", "expired"]);
  });

  it("redirects only to its own page and to the provider, whatever the request says", async () => {
    const scene = await start();
    const evil = "https://evil.example.org/";
    const headers = { host: "evil.example.org", "x-forwarded-host": "evil.example.org", referer: evil };
    const query = `?return=${evil}&next=${evil}&state=${evil}&error=access_denied`;
    for (const path of ["/auth/oidc/start", "/auth/oidc/callback"]) {
      const { status, headers: answered } = await scene.bridge.call(path + query, { headers });
      expect(status).toBe(303);
      const target = new URL(String(answered.location));
      expect([scene.origin, scene.provider.issuer]).toContain(target.origin);
      expect(target.searchParams.get("redirect_uri") ?? scene.origin).toMatch(`${scene.origin}`);
    }
  });

  it("refuses a handover cookie in place of a flow cookie, and an access token in place of both", async () => {
    const scene = await start();
    const token = scene.bridge.mint("admin");
    const cookies = [`skylapse_signed_in=${token}`, "skylapse_signed_in=", "skylapse_signed_in=x.y.z"];
    for (const cookie of cookies) {
      const { status } = await scene.bridge.call("/auth/oidc/session", { method: "POST", headers: { cookie } });
      expect(status).toBe(401);
    }
  });

  it("limits the attempts of an address", async () => {
    const scene = await start({}, { env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "3" } });
    const statuses: number[] = [];
    for (let time = 0; time < 4; time++) statuses.push((await scene.bridge.call("/auth/oidc/callback")).status);
    expect(statuses).toEqual([303, 303, 303, 429]);
  });
});

describe("GET /auth/methods", () => {
  it("tells the page the ways to sign in", async () => {
    const { bridge } = await start({}, { env: { OIDC_NAME: "Keycloak" } });
    expect((await bridge.call("/auth/methods")).body).toEqual({ password: false, oidc: { name: "Keycloak" } });
    await bridge.authority.accounts.create({ userId: "alice", password: "correct horse", powers: { role: "viewer" } });
    expect((await bridge.call("/auth/methods")).body).toMatchObject({ password: true });
  });

  it("names no identity provider without OIDC_ISSUER, and answers its routes with 404", async () => {
    const bridge = await startTestBridge();
    running.push(bridge);
    expect((await bridge.call("/auth/methods")).body).toEqual({ password: false });
    expect((await bridge.call("/auth/oidc/start")).status).toBe(404);
    expect((await bridge.call("/auth/oidc/callback")).status).toBe(404);
    expect((await bridge.call("/auth/oidc/session", { method: "POST" })).status).toBe(404);
  });
});
