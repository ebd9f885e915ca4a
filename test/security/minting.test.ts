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

/** Sends a token request byte for byte. @returns the status of the answer */
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

it("the server mints a token without a key for a plain request on this machine", async () => {
  expect(await ask([LOCAL])).toBe(200);
});

describe("without a key no token is minted", () => {
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
  ])("for the host %j", async (host) => {
    expect([400, 401]).toContain(await ask([`Host: ${host}`]));
  });

  it.each<[string, string[], { target?: string; version?: string }?]>([
    ["for nginx when only `proxy_pass` is configured", ["Host: 127.0.0.1:8082"], { version: "1.0" }],
    ["for two hosts, the right one first", [LOCAL, "Host: evil.example"]],
    ["for two hosts, the right one last", ["Host: evil.example", LOCAL]],
    ["for another host in the request line", [LOCAL], { target: "http://evil.example/auth/token" }],
    ["for a page of this host without its port", ["Host: localhost:8082", "Origin: http://localhost"]],
    ["for a page of this host over https", [LOCAL, "Origin: https://localhost"]],
    ["for a page under the other name of this host", [LOCAL, "Origin: http://127.0.0.1"]],
    ["for a page whose host name begins like this host's", [LOCAL, "Origin: http://localhost.evil.example"]],
    ["for a page whose origin begins like an allowed origin", [LOCAL, `Origin: ${ORIGIN}.evil.example`]],
    ["for two origins", [LOCAL, "Origin: http://localhost", "Origin: https://evil.example"]],
    ["for an empty origin", [LOCAL, "Origin: "]],
    ["for a proxy that sends Via", [LOCAL, "Via: 1.1 proxy"]],
    ["for a proxy that sends X-Real-IP", [LOCAL, "X-Real-IP: 127.0.0.1"]],
    ["for a proxy that names this machine in X-Forwarded-For", [LOCAL, "x-FORWARDED-for: 127.0.0.1"]],
    ["for a proxy that sends an empty X-Forwarded-For", [LOCAL, "X-Forwarded-For: "]],
    ["for a proxy that sends CF-Connecting-IP", [LOCAL, "CF-Connecting-IP: 203.0.113.7"]],
    ["for a proxy that sends True-Client-IP", [LOCAL, "True-Client-IP: 203.0.113.7"]],
    ["for a proxy that sends X-Original-URL", [LOCAL, "X-Original-URL: /auth/token"]],
    ["for a proxy that sends X-Forwarded-Proto", [LOCAL, "X-Forwarded-Proto: https"]],
    [
      "for a proxy, with 2,100 headers before its own",
      [LOCAL, ...Array(2100).fill("a:"), "X-Forwarded-For: 203.0.113.7"],
    ],
  ])("%s", async (_, head, options) => {
    expect(await ask(head, options)).toBe(401);
  });

  it("for a proxy that TRUSTED_PROXIES names, or for this machine while TRUSTED_PROXIES names a proxy", async () => {
    const behind = await startTestBridge({ env: { TRUSTED_PROXIES: "127.0.0.7" } });
    onTestFinished(() => behind.stop());
    expect(await ask([LOCAL], { port: behind.port, from: "127.0.0.7" })).toBe(401);
    expect(await ask([LOCAL], { port: behind.port })).toBe(401);
  });

  const others = Object.values(networkInterfaces()).flatMap((all = []) =>
    all.filter(({ internal, family }) => !internal && family === "IPv4").map(({ address }) => address),
  );
  it.each(others)("for this machine at its network address %s", async (from) => {
    expect(await ask([LOCAL], { from })).toBe(401);
  });

  it.each(["127.0.0.2", "127.255.255.254"])("except for the loopback address %s", async (from) => {
    expect(await ask([LOCAL], { from })).toBe(200);
  });
});

describe("on this machine, credentials other than the operator key mint no token:", () => {
  it.each<[string, () => string | Promise<string>]>([
    ["the key with a letter appended", () => `Bearer ${OPERATOR_KEY}x`],
    ["the key without its last letter", () => `Bearer ${OPERATOR_KEY.slice(0, -1)}`],
    ["the key in capitals", () => `Bearer ${OPERATOR_KEY.toUpperCase()}`],
    ["the key twice", () => `Bearer ${OPERATOR_KEY} ${OPERATOR_KEY}`],
    ["the key without a scheme", () => OPERATOR_KEY],
    ["the key in the scheme Basic", () => `Basic ${Buffer.from(`operator:${OPERATOR_KEY}`).toString("base64")}`],
    ["an empty token", () => "Bearer "],
    ["the secret that signs tokens", () => `Bearer ${"s".repeat(32)}`],
    [
      "the secret of a device",
      async () => `Bearer ${await bridge.authority.devices.add({ id: "north", kind: "camera", credential: {} })}`,
    ],
    ["the word undefined", () => "Bearer undefined"],
  ])("%s", async (_, authorization) => {
    expect(await ask([LOCAL, `Authorization: ${await authorization()}`])).toBe(401);
  });

  it.each([
    ["in the query", [], "/auth/token?token=KEY&access_token=KEY&key=KEY"],
    ["in a cookie", ["Cookie: token=KEY; authorization=Bearer KEY"], "/auth/token"],
    [
      "in other headers",
      ["X-API-Key: KEY", "X-Authorization: Bearer KEY", "Proxy-Authorization: Bearer KEY"],
      "/auth/token",
    ],
  ])("the key %s", async (_, head, target) => {
    const put = (text: string) => text.replaceAll("KEY", OPERATOR_KEY);
    expect(await ask(["Host: sky.example.org", ...head.map(put)], { target: put(target) })).toBe(401);
  });

  it("an admin's token, which gets 403 as at any other route", async () => {
    expect(await ask([LOCAL, `Authorization: Bearer ${bridge.mint("admin")}`])).toBe(403);
  });
});

describe.each([
  ["GET", "/stats"],
  ["POST", "/broadcast"],
])("%s %s, which needs no key on this machine", (method, path) => {
  const call = (headers: Record<string, string>) =>
    bridge.call(path, { method, headers, ...(method === "POST" ? { body: { event: "a" } } : {}) });

  it.each<[string, Record<string, string>]>([
    ["a page of another site", { origin: "https://evil.example" }],
    ["a host name that resolves to this machine", { host: "evil.example" }],
    ["a client behind a proxy", { "x-forwarded-for": "203.0.113.7" }],
  ])("rejects %s", async (_, headers) => {
    expect(await call({ host: "localhost", ...headers })).toMatchObject({ status: 401 });
    expect((await call({ host: "localhost" })).status).toBe(200);
  });
});

it.each(["0.0.0.0", "::"])(
  "the server does not start on %s unless JWT_SECRET and OPERATOR_KEY are set",
  async (HOST) => {
    const dataPath = makeDataPath();
    const { code, errors } = await runToEnd({ dataPath, env: { HOST } });
    removeDataPath(dataPath);
    expect(code).toBe(1);
    expect(errors).toMatch(/^Cannot start: JWT_SECRET: must be set when HOST can be reached by others/m);
    expect(errors).toMatch(/^Cannot start: OPERATOR_KEY: must be set when HOST can be reached by others/m);
  },
);
