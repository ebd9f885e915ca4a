import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { TokenRefusedError } from "../../../dashboard-client/client/errors.ts";
import { Access } from "../../../dashboard-client/page/access.ts";
import type { TextStorage } from "../../../dashboard-client/state/offline-cache.ts";
import { afterTest } from "../support/harness.ts";

const PASSWORD = "a long enough password";

interface Asked {
  path: string | undefined;
  body: unknown;
}

interface Doorkeeper {
  asked: Asked[];
  base: string;
  /** The refresh token that is good now. */
  good: string;
  /** What is answered instead. */
  status: number | undefined;
}

/** A real HTTP server that gives tokens to anybody when it is open, else to alice and to whom has the refresh token. */
async function keepDoor({ open = false, expiresIn = 900 } = {}): Promise<Doorkeeper> {
  const door: Doorkeeper = { asked: [], base: "", good: "none", status: undefined };
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = bodySchema.parse(JSON.parse(Buffer.concat(chunks).toString()));
    door.asked.push({ path: request.url, body });
    const refuse = (status: number, message: string) =>
      response.writeHead(status).end(JSON.stringify({ error: { code: "no", message } }));
    if (door.status !== undefined) return refuse(door.status, "not now");
    const count = door.asked.length;
    const token = { token: `token-${count}`, user_id: body.user_id ?? "alice", expires_in: expiresIn };
    const known = body.password === PASSWORD || body.refresh_token === door.good;
    if (request.url === "/auth/logout") {
      door.good = "none";
      return response.writeHead(204).end();
    }
    if (request.url === "/auth/token") return open ? response.end(JSON.stringify(token)) : refuse(401, "no key");
    if (!known) return refuse(401, "Wrong user name or password");
    door.good = `refresh-${count}`;
    return response.end(JSON.stringify({ ...token, refresh_token: door.good }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  afterTest(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening");
  door.base = `http://127.0.0.1:${address.port}/`;
  return door;
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

describe("the page's access", () => {
  it("asks an open server for a token, and keeps it while it lasts", async () => {
    const { asked, base } = await keepDoor({ open: true });
    const access = new Access({ base, fetch, storage: undefined });
    expect(await access.current()).toBe("token-1");
    expect(await access.current()).toBe("token-1");
    expect(await access.fresh()).toBe("token-2");
    expect(asked[0]).toEqual({
      path: "/auth/token",
      body: { user_id: "dashboard", permissions: ["dashboard:read", "camera:read", "camera:control"] },
    });
    expect(access.signedIn).toBe(false);
    access.forgetToken();
    expect(await access.current()).toBe("token-3");
  });

  it("asks once for all who want a token at the same time, and again for one that is about to end", async () => {
    const { asked, base } = await keepDoor({ open: true, expiresIn: 20 });
    const access = new Access({ base, fetch, storage: undefined });
    expect(await Promise.all([access.fresh(), access.current(), access.fresh()])).toEqual(Array(3).fill("token-1"));
    expect(asked).toHaveLength(1);
    await access.current();
    expect(asked).toHaveLength(2);
  });

  it("says that somebody has to sign in, and why he cannot", async () => {
    const { base } = await keepDoor();
    const access = new Access({ base, fetch, storage: browser() });
    await expect(access.fresh()).rejects.toThrow(new TokenRefusedError("Sign in to see the cameras"));
    await expect(access.signIn("alice", "wrong")).rejects.toThrow("Wrong user name or password");
    expect([access.signedIn, access.userId]).toEqual([false, undefined]);
  });

  it("keeps the login over a reload and for other tabs, each of which goes on with the newest refresh token", async () => {
    const door = await keepDoor();
    const storage = browser();
    const access = new Access({ base: door.base, fetch, storage });
    await access.signIn("alice", PASSWORD);
    const other = new Access({ base: door.base, fetch, storage });
    expect([other.signedIn, other.userId]).toEqual([true, "alice"]);
    for (const tab of [other, access, other]) expect(await tab.fresh()).toMatch(/^token-/);
    expect(door.asked.map(({ path }) => path)).toEqual(["/auth/login", ...Array(3).fill("/auth/refresh")]);
    // The password is kept nowhere.
    expect(storage.getItem("skylapse:login")).not.toContain(PASSWORD);
  });

  it("lasts as long as the page when the browser's storage takes no writes", async () => {
    const door = await keepDoor();
    const storage: TextStorage = {
      ...browser(),
      setItem() {
        throw new DOMException("The quota has been exceeded.", "QuotaExceededError");
      },
    };
    const access = new Access({ base: door.base, fetch, storage });
    await access.signIn("alice", PASSWORD);
    expect([access.signedIn, access.userId]).toEqual([true, "alice"]);
    expect(await access.fresh()).toBe("token-2");
  });

  it("goes on without a storage", async () => {
    const { base } = await keepDoor();
    const access = new Access({ base, fetch, storage: undefined });
    await access.signIn("alice", PASSWORD);
    expect(await access.fresh()).toBe("token-2");
  });

  it("asks to sign in again when the session has ended, and still knows who it was", async () => {
    const door = await keepDoor();
    const access = new Access({ base: door.base, fetch, storage: browser() });
    await access.signIn("alice", PASSWORD);
    door.good = "another";
    await expect(access.fresh()).rejects.toThrow(new TokenRefusedError("Your session has ended: sign in again"));
    expect([access.signedIn, access.userId]).toEqual([false, "alice"]);
  });

  it("follows another tab that signed in anew while it asked", async () => {
    const door = await keepDoor();
    const storage = browser();
    await new Access({ base: door.base, fetch, storage }).signIn("alice", PASSWORD);
    const old = storage.getItem("skylapse:login") ?? "";
    await new Access({ base: door.base, fetch, storage }).signIn("alice", PASSWORD);
    // Read once before the other tab has written, and once after.
    let reads = 0;
    const late = { ...storage, getItem: (name: string) => (reads++ === 0 ? old : storage.getItem(name)) };
    expect(await new Access({ base: door.base, fetch, storage: late }).fresh()).toBe("token-4");
  });

  it("signs out at the server, and here even when that is away", async () => {
    const door = await keepDoor();
    const storage = browser();
    const access = new Access({ base: door.base, fetch, storage });
    await access.signIn("alice", PASSWORD);
    await access.signOut();
    expect(door.asked.at(-1)).toMatchObject({ path: "/auth/logout", body: { refresh_token: "refresh-1" } });
    expect(storage.getItem("skylapse:login")).toBeNull();
    await access.signIn("alice", PASSWORD);
    const away = new Access({ base: "http://127.0.0.1:9/", fetch, storage });
    await away.signOut();
    expect(access.signedIn).toBe(false);
  });

  it.each([429, 500, 503])("takes %d for a trouble that passes, and keeps the login", async (status) => {
    const door = await keepDoor();
    const access = new Access({ base: door.base, fetch, storage: browser() });
    await access.signIn("alice", PASSWORD);
    door.status = status;
    const error = await access.fresh().catch((caught: unknown) => caught);
    expect(error).not.toBeInstanceOf(TokenRefusedError);
    expect(error).toMatchObject({ message: "not now" });
    expect(access.signedIn).toBe(true);
  });
});
