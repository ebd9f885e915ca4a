import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { describe, expect, it } from "vitest";
import { TokenRefusedError } from "../../dashboard-client/errors.ts";
import type { TextStorage } from "../../dashboard-client/offline-cache.ts";
import { Access } from "../../dashboard-client/page/access.ts";
import { afterTest } from "./support/harness.ts";

interface Asked {
  path: string | undefined;
  key: string | undefined;
  body: unknown;
}

/** A real HTTP server that mints tokens for `Bearer secret`, or for anybody when it is open. */
async function mint({ open, expiresIn = 900, status = 401 }: { open: boolean; expiresIn?: number; status?: number }) {
  const asked: Asked[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const key = request.headers.authorization;
    asked.push({ path: request.url, key, body: JSON.parse(Buffer.concat(chunks).toString()) });
    if (!open && key !== "Bearer secret") response.writeHead(status).end("{}");
    else response.end(JSON.stringify({ token: `token-${asked.length}`, user_id: "dashboard", expires_in: expiresIn }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  afterTest(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening");
  return { asked, base: `http://127.0.0.1:${address.port}/` };
}

function tab(): TextStorage {
  const values = new Map<string, string>();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => values.set(key, value),
    removeItem: (key) => values.delete(key),
  };
}

describe("the page's access", () => {
  it("asks an open server for a token without a key, and keeps it while it lasts", async () => {
    const { asked, base } = await mint({ open: true });
    const access = new Access({ base, fetch, storage: undefined });
    expect(await access.current()).toBe("token-1");
    expect(await access.current()).toBe("token-1");
    expect(await access.fresh()).toBe("token-2");
    expect(asked[0]).toEqual({
      path: "/auth/token",
      key: undefined,
      body: { user_id: "dashboard", permissions: ["dashboard:read", "camera:read", "camera:control"] },
    });
    access.forgetToken();
    expect(await access.current()).toBe("token-3");
  });

  it("asks once for all who want a token at the same time, and again for one that is about to end", async () => {
    const { asked, base } = await mint({ open: true, expiresIn: 20 });
    const access = new Access({ base, fetch, storage: undefined });
    expect(await Promise.all([access.fresh(), access.current(), access.fresh()])).toEqual(Array(3).fill("token-1"));
    expect(asked).toHaveLength(1);
    await access.current();
    expect(asked).toHaveLength(2);
  });

  it.each([401, 403])("says on %d that a key is wanted, and keeps one that works for the tab", async (status) => {
    const { base } = await mint({ open: false, status });
    const storage = tab();
    const access = new Access({ base, fetch, storage });
    await expect(access.fresh()).rejects.toBeInstanceOf(TokenRefusedError);
    await expect(access.signIn("wrong")).rejects.toThrow("does not take this operator key");
    expect(access.signedIn).toBe(false);
    await access.signIn("secret");
    const reloaded = new Access({ base, fetch, storage });
    expect(reloaded.signedIn).toBe(true);
    expect(await reloaded.fresh()).toMatch(/^token-/);
    reloaded.signOut();
    expect(reloaded.signedIn).toBe(false);
    await expect(reloaded.current()).rejects.toThrow("asks for an operator key");
  });

  it.each([429, 500, 503])("takes %d for a trouble that passes", async (status) => {
    const { base } = await mint({ open: false, status });
    const error = await new Access({ base, fetch, storage: undefined }).fresh().catch((caught: unknown) => caught);
    expect(error).not.toBeInstanceOf(TokenRefusedError);
    expect(error).toMatchObject({ message: `The server gave no token (HTTP ${status})` });
  });
});
