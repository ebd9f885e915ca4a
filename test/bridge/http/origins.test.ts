import { once } from "node:events";
import { request } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const SITE = "https://sky.example.org";
let direct: TestBridge;
let behindProxy: TestBridge;

beforeAll(async () => {
  [direct, behindProxy] = await Promise.all([
    startTestBridge({ env: { ALLOWED_ORIGINS: `${SITE}:443, https://Other.example.org/, capacitor://localhost` } }),
    startTestBridge({ env: { TRUSTED_PROXIES: "127.0.0.1" } }),
  ]);
});
afterAll(() => Promise.all([direct.stop(), behindProxy.stop()]));

/** @returns the status of the response to an upgrade with these headers */
async function upgrade({ port }: TestBridge, headers: Record<string, string>): Promise<number | undefined> {
  const asked = request({
    ...{ host: "127.0.0.1", port, path: "/ws", agent: false },
    headers: {
      ...{ connection: "Upgrade", upgrade: "websocket" },
      ...{ "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" },
      ...headers,
    },
  });
  asked.end();
  const status = await Promise.race([
    once(asked, "upgrade").then(([response, socket]) => {
      socket.destroy();
      return response.statusCode;
    }),
    once(asked, "response").then(([response]) => response.statusCode),
  ]);
  asked.destroy();
  return status;
}

describe("a page connects to the server that it was loaded from", () => {
  it.each<[string, string, string]>([
    ["on the default port of https, which Host names", SITE, "sky.example.org:443"],
    ["on the default port of http, which Host names", "http://sky.example.org", "sky.example.org:80"],
    ["on a port of its own", `${SITE}:8443`, "sky.example.org:8443"],
    ["through a proxy that ends TLS and passes Host", SITE, "sky.example.org"],
    ["under a name in capitals", SITE, "SKY.example.org"],
    ["by an IPv6 address", "http://[2001:db8::1]:8082", "[2001:DB8:0::1]:8082"],
  ])("%s", async (_, origin, host) => {
    expect(await upgrade(behindProxy, { origin, host })).toBe(101);
  });

  it.each<[string, Record<string, string>]>([
    ["X-Forwarded-Host", { "x-forwarded-host": "sky.example.org" }],
    ["X-Forwarded-Host with the port", { "x-forwarded-host": "sky.example.org:443", "x-forwarded-proto": "https" }],
    [
      "X-Forwarded-Host of two proxies",
      { "x-forwarded-host": "sky.example.org, inner", "x-forwarded-proto": "https, http" },
    ],
    ["X-Forwarded-Proto wss", { "x-forwarded-host": "sky.example.org", "x-forwarded-proto": "wss" }],
  ])("as a trusted proxy names it by %s", async (_, headers) => {
    expect(await upgrade(behindProxy, { origin: SITE, host: "127.0.0.1:8082", ...headers })).toBe(101);
  });
});

describe("a page of ALLOWED_ORIGINS connects", () => {
  it.each([SITE, "https://other.example.org", "capacitor://localhost"])("from %s", async (origin) => {
    expect(await upgrade(direct, { origin, host: "127.0.0.1:8082" })).toBe(101);
  });
});

describe("a page of another origin is refused", () => {
  it.each<[string, () => TestBridge, Record<string, string>]>([
    ["of another port", () => behindProxy, { origin: `${SITE}:8443`, host: "sky.example.org" }],
    [
      "with another scheme than a trusted proxy names",
      () => behindProxy,
      { origin: "http://sky.example.org", host: "sky.example.org", "x-forwarded-proto": "https" },
    ],
    [
      "of the host name that a trusted proxy uses itself",
      () => behindProxy,
      { origin: "http://127.0.0.1:8082", host: "127.0.0.1:8082", "x-forwarded-host": "sky.example.org" },
    ],
    [
      "claimed by a peer that is not a trusted proxy",
      () => direct,
      { origin: "https://evil.example", host: "127.0.0.1:8082", "x-forwarded-host": "evil.example" },
    ],
    ["with a user in it", () => direct, { origin: "https://sky.example.org@evil.example", host: "sky.example.org" }],
    ["null", () => direct, { origin: "null", host: "null" }],
    ["of no host", () => direct, { origin: "https://", host: "sky.example.org" }],
    ["of two origins", () => direct, { origin: `${SITE} https://evil.example`, host: "sky.example.org" }],
  ])("%s", async (_, bridge, headers) => {
    expect(await upgrade(bridge(), headers)).toBe(403);
  });

  it("and can ask why; the answer names the setting", async () => {
    const evil = "https://evil.example";
    const { headers, body } = await direct.call(`/allowed-origin?origin=${encodeURIComponent(evil)}`, {
      headers: { origin: evil },
    });
    expect(headers["access-control-allow-origin"]).toBe("*");
    expect(body).toEqual({
      allowed: false,
      message: expect.stringMatching(
        /^pages of https:\/\/evil\.example may not connect: set ALLOWED_ORIGINS=https:\/\/evil\.example\. If a proxy /,
      ),
    });
    const own = await direct.call(`/allowed-origin?origin=${encodeURIComponent(SITE)}`);
    expect(own.body).toEqual({ allowed: true });
  });

  it("and counted in the metrics, and logged once a minute with the setting that would allow it", async () => {
    const lines: Record<string, unknown>[] = [];
    const bridge = await startTestBridge({ log: (line) => lines.push(line) });
    try {
      for (let times = 0; times < 5; times++) await upgrade(bridge, { origin: SITE, host: "127.0.0.1:8082" });
      for (let count = 0; count < 40; count++)
        await upgrade(bridge, { origin: `https://site-${count}.example`, host: "a" });
      const warnings = lines.filter(({ level, origin }) => level === 40 && origin !== undefined);
      expect(warnings[0]).toMatchObject({
        level: 40,
        ...{ origin: SITE, host: "127.0.0.1:8082", times: 1 },
        msg: expect.stringContaining(`set ALLOWED_ORIGINS=${SITE}`),
      });
      expect(warnings).toHaveLength(21);
      const { access } = (await bridge.call("/stats", { token: bridge.mint("system:read") })).body.node;
      expect(access.refused_origins).toHaveLength(21);
      expect(access.refused_origins).toContainEqual({ name: SITE, times: 5, last_seen: expect.any(String) });
      expect(access.refused_origins).toContainEqual({ name: "others", times: 21, last_seen: expect.any(String) });
    } finally {
      await bridge.stop();
    }
  });

  it("and logged for a preflight, but not for an image", async () => {
    const lines: Record<string, unknown>[] = [];
    const bridge = await startTestBridge({ log: (line) => lines.push(line) });
    try {
      const origin = "https://evil.example";
      await bridge.call("/health", { headers: { origin } });
      expect(lines.filter((line) => line.origin === origin)).toEqual([]);
      const asked = { origin, "access-control-request-method": "POST" };
      const { headers } = await bridge.call("/broadcast", { method: "OPTIONS", headers: asked });
      expect(headers["access-control-allow-origin"]).toBeUndefined();
      expect(lines.filter((line) => line.origin === origin)).toHaveLength(1);
    } finally {
      await bridge.stop();
    }
  });
});

describe("requests with forwarding headers", () => {
  it.each(["x-forwarded-for", "x-real-ip", "forwarded"])(
    "of a peer outside TRUSTED_PROXIES are reported once an hour: %s",
    async (header) => {
      const lines: Record<string, unknown>[] = [];
      const bridge = await startTestBridge({ log: (line) => lines.push(line) });
      try {
        for (let times = 0; times < 3; times++)
          await bridge.call("/health", { headers: { [header]: "for=203.0.113.7" } });
        const warnings = lines.filter(({ msg }) => String(msg).includes("TRUSTED_PROXIES"));
        expect(warnings).toEqual([expect.objectContaining({ level: 40, address: "127.0.0.1", times: 1 })]);
        expect(warnings[0]?.msg).toContain("if it is your proxy, set TRUSTED_PROXIES=127.0.0.1");
        const { access } = (await bridge.call("/stats", { token: bridge.mint("system:read") })).body.node;
        expect(access.untrusted_proxies).toEqual([{ name: "127.0.0.1", times: 3, last_seen: expect.any(String) }]);
      } finally {
        await bridge.stop();
      }
    },
  );

  it("of a peer in TRUSTED_PROXIES are not reported", async () => {
    await behindProxy.call("/health", { headers: { "x-forwarded-for": "203.0.113.7" } });
    const { access } = (await behindProxy.call("/stats", { token: behindProxy.mint("system:read") })).body.node;
    expect(access.untrusted_proxies).toEqual([]);
  });
});
