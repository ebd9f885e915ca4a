import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connectAsync } from "mqtt";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { type ReverseProxy, startCaddy, startNginx } from "../support/proxy.ts";
import { makeDataPath, removeDataPath, type Skylapse, startSkylapse } from "../support/skylapse.ts";

const TRUSTING = { allowSelfSigned: { rejectUnauthorized: false } } as const;
const CLIENT = "127.0.0.2";

describe.each([
  ["nginx", startNginx],
  ["Caddy", startCaddy],
])("the server behind the shipped %s, with TRUSTED_PROXIES", (_, start) => {
  let skylapse: Skylapse;
  let proxy: ReverseProxy;
  const dataPath = makeDataPath();

  beforeAll(async () => {
    skylapse = await startSkylapse({ dataPath, env: { JWT_SECRET, TRUSTED_PROXIES: "127.0.0.1" } });
    proxy = await start(skylapse);
  });
  afterAll(async () => {
    await proxy?.end();
    await skylapse.end();
    removeDataPath(dataPath);
  });

  async function upgrade(origin: string): Promise<number | undefined> {
    const socket = new WebSocket(`${proxy.origin.replace("https", "wss")}/ws`, { origin, ...TRUSTING.allowSelfSigned });
    socket.on("error", () => {});
    const status = await Promise.race([
      once(socket, "open").then(() => 101),
      once(socket, "unexpected-response").then(([, response]) => response.statusCode),
    ]);
    socket.terminate();
    return status;
  }

  async function call(path: string, method = "GET", body?: object) {
    const asked = request(`${proxy.origin}${path}`, {
      method,
      localAddress: CLIENT,
      agent: false,
      ...TRUSTING.allowSelfSigned,
    });
    asked.end(body === undefined ? undefined : JSON.stringify(body));
    const [answer] = await once(asked, "response");
    return { status: answer.statusCode, body: JSON.parse(await text(answer)) };
  }

  it("lets its own page connect and refuses a page of another origin", async () => {
    expect(await upgrade(proxy.origin)).toBe(101);
    expect(await upgrade("https://evil.example")).toBe(403);
    expect(await upgrade(proxy.origin.replace("https", "http"))).toBe(403);
  });

  it("tells a page why its origin is refused", async () => {
    const { body } = await call(`/allowed-origin?origin=${encodeURIComponent("https://evil.example")}`);
    expect(body).toEqual({ allowed: false, message: expect.stringContaining("ALLOWED_ORIGINS=https://evil.example") });
  });

  it("mints no token without a key, and names the client's address in the audit log", async () => {
    expect((await call("/auth/token", "POST", { user_id: "mallory", permissions: ["dashboard:read"] })).status).toBe(
      401,
    );
    await call("/auth/login", "POST", { user_id: "alice", password: "a guess" });
    await expect
      .poll(() => readFileSync(join(dataPath, "audit.log"), "utf8"))
      .toContain(`"action":"login","who":"user:alice","address":"${CLIENT}"`);
  });

  it("accepts MQTT over WebSocket at /mqtt", async () => {
    const client = await connectAsync(`${proxy.origin.replace("https", "wss")}/mqtt`, {
      ...{ username: "bob", password: signToken("bob", ["dashboard:read"]), clientId: "behind-proxy" },
      ...{ protocolVersion: 4, reconnectPeriod: 0, wsOptions: { ...TRUSTING.allowSelfSigned, origin: proxy.origin } },
    });
    expect(client.connected).toBe(true);
    await client.endAsync();
  });
});

it("the server mints no token through a proxy that passes only Upgrade, once an account exists or no camera is simulated", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const skylapse = await startSkylapse({ dataPath });
  onTestFinished(async () => void (await skylapse.end()));
  const proxy = await startNginx(
    skylapse,
    (port) => `server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:8082; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; } }`,
  );
  onTestFinished(() => proxy.end());
  const address = proxy.origin.replace("localhost", "127.0.0.1");
  const body = JSON.stringify({ user_id: "mallory", permissions: ["dashboard:read"] });
  const answer = await fetch(`${address}/auth/token`, { method: "POST", body });
  expect(answer.status).toBe(401);
  expect((await answer.json()).error.message).toContain("npx skylapse token");
});
