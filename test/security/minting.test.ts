import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { makeDataPath, removeDataPath, runToEnd } from "../support/skylapse.ts";
import { lines, rawHttp, statusesOf } from "./raw-http.ts";

const BODY = { user_id: "mallory", permissions: ["dashboard:read"] };
const ORIGIN = "https://sky.example.org";
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({
    env: {
      MAX_TOKEN_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_SECOND: "0",
      ALLOWED_ORIGINS: ORIGIN,
    },
  });
});
afterAll(() => bridge.stop());

/** Asks for a token byte for byte. @returns the status of the answer */
async function ask(
  head: readonly string[],
  { target = "/auth/token", from = "127.0.0.1", version = "1.1", port = bridge.port } = {},
): Promise<number> {
  const body = JSON.stringify(BODY);
  const bytes =
    lines(`POST ${target} HTTP/${version}`, ...head, "Connection: close", `Content-Length: ${body.length}`) + body;
  const [status = 0] = statusesOf(await (await rawHttp(port, bytes, from)).ended);
  return status;
}
const LOCAL = "Host: localhost";

it("a token is minted without a key for who asks as the owner's guide does", async () => {
  expect(await ask([LOCAL])).toBe(200);
});

describe("no token is minted without a key", () => {
  it.each([
    ...[
      "evil.example",
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "localhost.",
      "xlocalhost",
      "localhost@evil.example",
    ],
    ...["127.1", "0x7f.0.0.1", "2130706433", "127.0.0.2", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1].evil.example"],
    ...["localhost:80:80", "localhost:", "localhost/", "localhost evil.example", "localhost,evil.example", ""],
  ])("under the host %j", async (host) => {
    expect([400, 401]).toContain(await ask([`Host: ${host}`]));
  });

  it.each<[string, string[], { target?: string; version?: string }?]>([
    ["for whom nginx asks that was told nothing but `proxy_pass`", ["Host: 127.0.0.1:8082"], { version: "1.0" }],
    ["with two hosts, the good one first", [LOCAL, "Host: evil.example"]],
    ["with two hosts, the good one last", ["Host: evil.example", LOCAL]],
    ["with another host in the request line", [LOCAL], { target: "http://evil.example/auth/token" }],
    ["for a page of this host without its port", ["Host: localhost:8082", "Origin: http://localhost"]],
    ["for a page of this host over https", [LOCAL, "Origin: https://localhost"]],
    ["for a page of the other name of this host", [LOCAL, "Origin: http://127.0.0.1"]],
    ["for a page whose name begins like this host", [LOCAL, "Origin: http://localhost.evil.example"]],
    ["for a page whose name begins like an allowed one", [LOCAL, `Origin: ${ORIGIN}.evil.example`]],
    ["for pages of two origins", [LOCAL, "Origin: http://localhost", "Origin: https://evil.example"]],
    ["for a page of an empty origin", [LOCAL, "Origin: "]],
    ["for whom a proxy asks that says via", [LOCAL, "Via: 1.1 proxy"]],
    ["for whom a proxy asks that says x-real-ip", [LOCAL, "X-Real-IP: 127.0.0.1"]],
    ["for whom a proxy asks that names this machine", [LOCAL, "x-FORWARDED-for: 127.0.0.1"]],
    ["for whom a proxy asks that says nothing in it", [LOCAL, "X-Forwarded-For: "]],
    ["for whom a proxy asks that says cf-connecting-ip", [LOCAL, "CF-Connecting-IP: 203.0.113.7"]],
    ["for whom a proxy asks that says true-client-ip", [LOCAL, "True-Client-IP: 203.0.113.7"]],
    ["for whom a proxy asks that says x-original-url", [LOCAL, "X-Original-URL: /auth/token"]],
    ["for whom a proxy asks that says https", [LOCAL, "X-Forwarded-Proto: https"]],
    ["for whom a proxy asks, behind 2,100 headers", [LOCAL, ...Array(2100).fill("a:"), "X-Forwarded-For: 203.0.113.7"]],
  ])("%s", async (_, head, options) => {
    expect(await ask(head, options)).toBe(401);
  });

  it("where TRUSTED_PROXIES names a proxy: not to the proxy, nor to this machine beside it", async () => {
    const behind = await startTestBridge({ env: { TRUSTED_PROXIES: "127.0.0.7" } });
    onTestFinished(() => behind.stop());
    expect(await ask([LOCAL], { port: behind.port, from: "127.0.0.7" })).toBe(401);
    expect(await ask([LOCAL], { port: behind.port })).toBe(401);
  });

  const others = Object.values(networkInterfaces()).flatMap((all = []) =>
    all.filter(({ internal, family }) => !internal && family === "IPv4").map(({ address }) => address),
  );
  it.each(others)("for this machine, when it comes from its address %s in a network", async (from) => {
    expect(await ask([LOCAL], { from })).toBe(401);
  });

  it.each(["127.0.0.2", "127.255.255.254"])("but from %s, which is this machine alone, it is", async (from) => {
    expect(await ask([LOCAL], { from })).toBe(200);
  });
});

describe("credentials that are not the operator key, on this machine too, mint nothing", () => {
  it.each<[string, () => string | Promise<string>]>([
    ["the key and more", () => `Bearer ${OPERATOR_KEY}x`],
    ["the begin of the key", () => `Bearer ${OPERATOR_KEY.slice(0, -1)}`],
    ["the key in capitals", () => `Bearer ${OPERATOR_KEY.toUpperCase()}`],
    ["the key twice", () => `Bearer ${OPERATOR_KEY} ${OPERATOR_KEY}`],
    ["the key without its scheme", () => OPERATOR_KEY],
    ["the key in the scheme Basic", () => `Basic ${Buffer.from(`operator:${OPERATOR_KEY}`).toString("base64")}`],
    ["nothing", () => "Bearer "],
    ["the secret that signs tokens", () => `Bearer ${"s".repeat(32)}`],
    [
      "the secret of a device",
      async () => `Bearer ${await bridge.authority.devices.add({ id: "north", kind: "camera", credential: {} })}`,
    ],
    ["undefined", () => "Bearer undefined"],
  ])("%s", async (_, authorization) => {
    expect(await ask([LOCAL, `Authorization: ${await authorization()}`])).toBe(401);
  });

  it.each([
    ["in the query", [], "/auth/token?token=KEY&access_token=KEY&key=KEY"],
    ["in a cookie", ["Cookie: token=KEY; authorization=Bearer KEY"], "/auth/token"],
    [
      "in headers of others",
      ["X-API-Key: KEY", "X-Authorization: Bearer KEY", "Proxy-Authorization: Bearer KEY"],
      "/auth/token",
    ],
  ])("the key %s", async (_, head, target) => {
    const put = (text: string) => text.replaceAll("KEY", OPERATOR_KEY);
    expect(await ask(["Host: sky.example.org", ...head.map(put)], { target: put(target) })).toBe(401);
  });

  it("an admin's token is answered with 403, and asks for no more than it has at any other door", async () => {
    expect(await ask([LOCAL, `Authorization: Bearer ${bridge.mint("admin")}`])).toBe(403);
  });
});

describe.each([
  ["GET", "/stats"],
  ["POST", "/broadcast"],
])("%s %s, which needs no key on this machine either", (method, path) => {
  const call = (headers: Record<string, string>) =>
    bridge.call(path, { method, headers, ...(method === "POST" ? { body: { event: "a" } } : {}) });

  it.each<[string, Record<string, string>]>([
    ["a page of another site", { origin: "https://evil.example" }],
    ["a name that resolves to this machine", { host: "evil.example" }],
    ["somebody behind a proxy", { "x-forwarded-for": "203.0.113.7" }],
  ])("is closed to %s", async (_, headers) => {
    expect(await call({ host: "localhost", ...headers })).toMatchObject({ status: 401 });
    expect((await call({ host: "localhost" })).status).toBe(200);
  });
});

it.each(["0.0.0.0", "::"])(
  "the program does not start on %s without a secret and a key of its operator's",
  async (HOST) => {
    const dataPath = makeDataPath();
    const { code, errors } = await runToEnd({ dataPath, env: { HOST } });
    removeDataPath(dataPath);
    expect(code).toBe(1);
    expect(errors).toMatch(/^Cannot start: JWT_SECRET: must be set when HOST can be reached by others/m);
    expect(errors).toMatch(/^Cannot start: OPERATOR_KEY: must be set when HOST can be reached by others/m);
  },
);
