import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { describe, expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { TokenRefusedError } from "../../../dashboard-client/client/errors.ts";
import { Access } from "../../../dashboard-client/page/access.ts";
import { setLanguage } from "../../../dashboard-client/page/text/i18n.ts";
import type { TextStorage } from "../../../dashboard-client/state/offline-cache.ts";

const PASSWORD = "a long enough password";

interface ReceivedRequest {
  path: string | undefined;
  body: unknown;
}

interface TokenServer {
  asked: ReceivedRequest[];
  base: string;
  /** The refresh token that is valid now. */
  good: string;
  /** If set, the server answers with this status instead. */
  status: number | undefined;
}

/**
 * A real HTTP server that issues tokens: to every client if `open`, otherwise for the password or the refresh token.
 */
async function startTokenServer({ open = false, expiresIn = 900 } = {}): Promise<TokenServer> {
  const tokenServer: TokenServer = { asked: [], base: "", good: "none", status: undefined };
  const server = createServer(async (request: IncomingMessage, response) => {
    if (request.method === "GET") return response.writeHead(401).end();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = bodySchema.parse(JSON.parse(Buffer.concat(chunks).toString()));
    tokenServer.asked.push({ path: request.url, body });
    const refuse = (status: number, message: string) =>
      response.writeHead(status).end(JSON.stringify({ error: { code: "no", message } }));
    if (tokenServer.status !== undefined) return refuse(tokenServer.status, "not now");
    const count = tokenServer.asked.length;
    const token = { token: `token-${count}`, user_id: body.user_id ?? "alice", expires_in: expiresIn };
    const known = body.password === PASSWORD || body.refresh_token === tokenServer.good;
    if (request.url === "/auth/logout") {
      tokenServer.good = "none";
      return response.writeHead(204).end();
    }
    if (request.url === "/auth/token") return open ? response.end(JSON.stringify(token)) : refuse(401, "no key");
    if (!known) return refuse(401, "Wrong user name or password");
    tokenServer.good = `refresh-${count}`;
    return response.end(JSON.stringify({ ...token, refresh_token: tokenServer.good }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening");
  tokenServer.base = `http://127.0.0.1:${address.port}/`;
  return tokenServer;
}

const bodySchema = z.object({
  user_id: z.string().optional(),
  password: z.string().optional(),
  refresh_token: z.string().optional(),
  permissions: z.array(z.string()).optional(),
});

function browser(): TextStorage {
  const values = new Map<string, string>();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => values.set(key, value),
    removeItem: (key) => values.delete(key),
  };
}

describe("the access of the page", () => {
  it("asks an open server for a token, and keeps the token until it expires or is refused", async () => {
    const { asked, base } = await startTokenServer({ open: true });
    const access = new Access({ base, fetch, storage: undefined });
    expect(await access.current()).toBe("token-1");
    expect(await access.current()).toBe("token-1");
    expect(await access.fresh()).toBe("token-2");
    expect(asked[0]).toEqual({
      path: "/auth/token",
      body: { user_id: "dashboard", permissions: ["dashboard:read", "camera:read", "camera:control", "system:read"] },
    });
    expect(access.signedIn).toBe(false);
    await access.get(new URL("cameras", base), AbortSignal.timeout(5_000));
    expect(await access.current()).toBe("token-3");
  });

  it("asks once for several callers at the same time, and again if the token expires soon", async () => {
    const { asked, base } = await startTokenServer({ open: true, expiresIn: 20 });
    const access = new Access({ base, fetch, storage: undefined });
    expect(await Promise.all([access.fresh(), access.current(), access.fresh()])).toEqual(Array(3).fill("token-1"));
    expect(asked).toHaveLength(1);
    await access.current();
    expect(asked).toHaveLength(2);
  });

  it("says that the user must sign in, and why signing in failed", async () => {
    const { base } = await startTokenServer();
    const access = new Access({ base, fetch, storage: browser() });
    await expect(access.fresh()).rejects.toThrow(new TokenRefusedError("Sign in to see the cameras."));
    await expect(access.signIn("alice", "wrong")).rejects.toThrow("Wrong user name or password");
    expect([access.signedIn, access.userId]).toEqual([false, undefined]);
  });

  it("says in the language of the page that the user must sign in", async () => {
    const tokenServer = await startTokenServer();
    const access = new Access({ base: tokenServer.base, fetch, storage: browser() });
    onTestFinished(() => setLanguage("en", []));
    await setLanguage("de", []);
    await expect(access.fresh()).rejects.toThrow("Melden Sie sich an, um die Kameras zu sehen.");
    await access.signIn("alice", PASSWORD);
    tokenServer.good = "another";
    await expect(access.fresh()).rejects.toThrow("Ihre Sitzung ist beendet. Melden Sie sich erneut an.");
  });

  it("keeps the login across a reload and for other tabs, which all use the newest refresh token", async () => {
    const tokenServer = await startTokenServer();
    const storage = browser();
    const access = new Access({ base: tokenServer.base, fetch, storage });
    await access.signIn("alice", PASSWORD);
    const other = new Access({ base: tokenServer.base, fetch, storage });
    expect([other.signedIn, other.userId]).toEqual([true, "alice"]);
    for (const tab of [other, access, other]) expect(await tab.fresh()).toMatch(/^token-/);
    expect(tokenServer.asked.map(({ path }) => path)).toEqual(["/auth/login", ...Array(3).fill("/auth/refresh")]);
    // The password is not stored.
    expect(storage.getItem("skylapse:login")).not.toContain(PASSWORD);
  });

  it("keeps the login in memory if the browser's storage cannot be written", async () => {
    const tokenServer = await startTokenServer();
    const storage: TextStorage = {
      ...browser(),
      setItem() {
        throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
      },
    };
    const access = new Access({ base: tokenServer.base, fetch, storage });
    await access.signIn("alice", PASSWORD);
    expect([access.signedIn, access.userId]).toEqual([true, "alice"]);
    expect(await access.fresh()).toBe("token-2");
  });

  it("works without a storage", async () => {
    const { base } = await startTokenServer();
    const access = new Access({ base, fetch, storage: undefined });
    await access.signIn("alice", PASSWORD);
    expect(await access.fresh()).toBe("token-2");
  });

  it("asks the user to sign in again after the session has ended, and still knows the user", async () => {
    const tokenServer = await startTokenServer();
    const access = new Access({ base: tokenServer.base, fetch, storage: browser() });
    await access.signIn("alice", PASSWORD);
    tokenServer.good = "another";
    await expect(access.fresh()).rejects.toThrow(new TokenRefusedError("Your session has ended. Sign in again."));
    expect([access.signedIn, access.userId]).toEqual([false, "alice"]);
  });

  it("uses a login that began while the page asked for a token without one", async () => {
    const tokenServer = await startTokenServer();
    const storage = browser();
    await new Access({ base: tokenServer.base, fetch, storage }).signIn("alice", PASSWORD);
    let reads = 0;
    const late = { ...storage, getItem: (name: string) => (reads++ === 0 ? null : storage.getItem(name)) };
    const access = new Access({ base: tokenServer.base, fetch, storage: late });
    expect(await access.fresh()).toMatch(/^token-/);
    expect(tokenServer.asked.map(({ path }) => path)).toEqual(["/auth/login", "/auth/token", "/auth/refresh"]);
  });

  it("uses the login of another tab that signed in during the request", async () => {
    const tokenServer = await startTokenServer();
    const storage = browser();
    await new Access({ base: tokenServer.base, fetch, storage }).signIn("alice", PASSWORD);
    const old = storage.getItem("skylapse:login") ?? "";
    await new Access({ base: tokenServer.base, fetch, storage }).signIn("alice", PASSWORD);
    // The first read happens before the other tab has written. The second read happens afterwards.
    let reads = 0;
    const late = { ...storage, getItem: (name: string) => (reads++ === 0 ? old : storage.getItem(name)) };
    expect(await new Access({ base: tokenServer.base, fetch, storage: late }).fresh()).toBe("token-4");
  });

  it("signs out at the server, and also locally if the server cannot be reached", async () => {
    const tokenServer = await startTokenServer();
    const storage = browser();
    const access = new Access({ base: tokenServer.base, fetch, storage });
    await access.signIn("alice", PASSWORD);
    await access.signOut();
    expect(tokenServer.asked.at(-1)).toMatchObject({ path: "/auth/logout", body: { refresh_token: "refresh-1" } });
    expect(storage.getItem("skylapse:login")).toBeNull();
    await access.signIn("alice", PASSWORD);
    const away = new Access({ base: "http://127.0.0.1:9/", fetch, storage });
    await away.signOut();
    expect(access.signedIn).toBe(false);
  });

  it.each([429, 500, 503])("keeps the login after a %d, which is temporary", async (status) => {
    const tokenServer = await startTokenServer();
    const access = new Access({ base: tokenServer.base, fetch, storage: browser() });
    await access.signIn("alice", PASSWORD);
    tokenServer.status = status;
    const error = await access.fresh().catch((caught: unknown) => caught);
    expect(error).not.toBeInstanceOf(TokenRefusedError);
    expect(error).toMatchObject({ message: "not now" });
    expect(access.signedIn).toBe(true);
  });
});
