import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../support/test-bridge.ts";

const ORIGIN = "https://sky.example.org";
let bridge: TestBridge;
let pagePath: string;

beforeAll(async () => {
  pagePath = await mkdtemp(join(tmpdir(), "page-"));
  await mkdir(join(pagePath, "assets"));
  await writeFile(join(pagePath, "index.html"), "<!doctype html><title>Skylapse</title>");
  await writeFile(join(pagePath, "assets", "index-abc123.js"), "export {};");
  await writeFile(join(pagePath, ".secret"), "secret");
  bridge = await startTestBridge({
    pagePath,
    env: {
      ALLOWED_ORIGINS: ORIGIN,
      MAX_PAYLOAD_BYTES: "1000",
      MAX_REQUESTS_PER_MINUTE: "0",
      MAX_REQUESTS_PER_SECOND: "0",
    },
  });
});
afterAll(async () => {
  await bridge.stop();
  await rm(pagePath, { recursive: true });
});

/** A bare TCP connection, for bytes that no HTTP client sends. */
async function raw(lines: readonly string[], { port } = bridge): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(lines.join("\r\n"));
  return socket;
}

describe("wrong requests", () => {
  it.each(["/nowhere", "/auth/nowhere", "/assets/nowhere.js", "/stats/x"])("get 404 for GET %s", async (path) => {
    const { status, body } = await bridge.call(path);
    expect([status, body]).toEqual([404, { error: { code: "not_found", message: `There is no GET ${path}` } }]);
  });

  it.each<[string, string, string]>([
    ["POST", "/health", "HEAD, GET"],
    ["GET", "/auth/token", "POST"],
    ["DELETE", "/auth/login", "POST"],
    ["PATCH", "/users", "HEAD, GET, POST"],
    ["GET", "/users/alice", "PUT, DELETE"],
    ["GET", "/cameras/north/commands", "POST"],
    ["POST", "/ws", "HEAD, GET"],
    ["POST", "/", "HEAD, GET"],
    ["PROPFIND", "/cameras", "HEAD, GET"],
  ])("get 405 for %s %s with the allowed methods", async (method, path, allowed) => {
    const answer = await bridge.call(path, { method, body: method === "POST" ? {} : undefined });
    expect(answer.status).toBe(405);
    expect(answer.body.error).toMatchObject({ code: "method_not_allowed" });
    expect(answer.headers.allow?.split(", ").sort()).toEqual(allowed.split(", ").sort());
  });

  it.each(["/nothing", "/users/alice/nothing", "/health/"])("get 404 for any method of %s", async (path) => {
    for (const method of ["GET", "POST"]) {
      const answer = await bridge.call(path, { method });
      expect([answer.status, answer.headers.allow]).toEqual([404, undefined]);
    }
  });

  it("get 400 for a path that cannot be decoded", async () => {
    const { status, body } = await bridge.call("/cameras/%E0%A4%A");
    expect([status, body.error.code]).toEqual([400, "bad_request"]);
  });

  it("get 413 for a body above MAX_PAYLOAD_BYTES", async () => {
    const { status, body } = await bridge.call("/broadcast", {
      method: "POST",
      body: { event: "a", data: "x".repeat(1000) },
    });
    expect([status, body.error.code]).toEqual([413, "payload_too_large"]);
  });

  it("get 426 for a plain request to the WebSocket's path", async () => {
    const { status, headers, body } = await bridge.call("/ws");
    expect([status, headers.upgrade, body.error.code]).toEqual([426, "websocket", "upgrade_required"]);
  });

  it.each(["/", "/wsx", "/ws/", "/health"])("get 404 for an upgrade at %s, and the socket closes", async (path) => {
    const socket = await raw([
      `GET ${path} HTTP/1.1`,
      "Host: localhost",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      "\r\n",
    ]);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/);
  });
});

describe("bytes that are not HTTP", () => {
  it("get 400 in the usual form, and the connection closes", async () => {
    const answer = await text(await raw(["HELLO", "\r\n"]));
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(JSON.parse(answer.slice(answer.indexOf("{")))).toMatchObject({ error: { code: "bad_request" } });
  });

  it("get 431 for endless headers", async () => {
    const answer = await text(await raw(["GET / HTTP/1.1", `X-Long: ${"x".repeat(20_000)}`, "\r\n"]));
    expect(answer).toMatch(/^HTTP\/1\.1 431 /);
  });
});

describe("a client that sends a request slowly", () => {
  it.each([
    ["its head", ["GET /health HTTP/1.1", "Host: localhost", "X-Slow: "]],
    ["its body", ["POST /broadcast HTTP/1.1", "Host: localhost", "Content-Length: 100", "\r\n{"]],
  ])("is disconnected while it sends %s", async (_name, lines) => {
    // This test has its own server, because the other tests need a longer timeout.
    const hasty = await startTestBridge({ env: { REQUEST_TIMEOUT_MS: "300" } });
    try {
      expect(await text(await raw(lines, hasty))).toMatch(/^HTTP\/1\.1 408 /);
    } finally {
      await hasty.stop();
    }
  });
});

describe("headers", () => {
  it("allow the page to use only its own server", async () => {
    const { headers } = await bridge.call("/", { headers: { host: "sky.example.org:8443" } });
    const policy = String(headers["content-security-policy"]);
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("connect-src 'self' ws://sky.example.org:8443 wss://sky.example.org:8443");
    expect(policy).toContain("img-src 'self' blob: data:");
    expect(policy).not.toContain("upgrade-insecure-requests");
    expect(headers).toMatchObject({ "x-content-type-options": "nosniff", "x-frame-options": "SAMEORIGIN" });
  });

  it("ignore an invalid Host header", async () => {
    const { headers } = await bridge.call("/health", { headers: { host: "x; script-src *" } });
    expect(headers["content-security-policy"]).not.toContain("*");
  });

  it("allow only the origins of ALLOWED_ORIGINS", async () => {
    const allowed = (origin: string) => bridge.call("/health", { headers: { origin } });
    expect((await allowed(ORIGIN)).headers["access-control-allow-origin"]).toBe(ORIGIN);
    expect((await allowed("https://evil.example.org")).headers).not.toHaveProperty("access-control-allow-origin");
  });

  it("allow an allowed origin to send a token", async () => {
    const { status, headers } = await bridge.call("/cameras/north/latest.jpg", {
      method: "OPTIONS",
      headers: {
        origin: ORIGIN,
        "access-control-request-method": "GET",
        "access-control-request-headers": "authorization",
      },
    });
    expect(status).toBe(204);
    expect(headers["access-control-allow-headers"]).toContain("authorization");
  });
});

describe("MAX_REQUESTS_PER_MINUTE", () => {
  it("applies to each address that a trusted proxy names, and includes requests for unknown paths", async () => {
    const limited = await startTestBridge({ env: { MAX_REQUESTS_PER_MINUTE: "2", TRUSTED_PROXIES: "127.0.0.1" } });
    try {
      const from = async (address: string, path = "/health") =>
        (await limited.call(path, { headers: { "x-forwarded-for": address } })).status;
      expect([await from("203.0.113.7"), await from("203.0.113.7"), await from("203.0.113.7")]).toEqual([
        200, 200, 429,
      ]);
      expect(await from("203.0.113.8", "/nowhere")).toBe(404);
      expect(await from("203.0.113.8", "/nowhere")).toBe(404);
      expect(await from("203.0.113.8", "/nowhere")).toBe(429);
    } finally {
      await limited.stop();
    }
  });
});

describe("MAX_REQUESTS_PER_SECOND", () => {
  it("delays one address's requests for any path, and delays no other address", async () => {
    const throttled = await startTestBridge({ env: { MAX_REQUESTS_PER_SECOND: "5", TRUSTED_PROXIES: "127.0.0.1" } });
    try {
      const from = async (address: string, path: string) =>
        (await throttled.call(path, { headers: { "x-forwarded-for": address } })).status;
      const begin = performance.now();
      const done: string[] = [];
      const paths = Array.from({ length: 60 }, (_, index) => (index % 2 === 0 ? "/livez" : "/nowhere"));
      const many = Promise.all(paths.map((path) => from("203.0.113.7", path))).then(() => done.push("many"));
      expect(await from("203.0.113.8", "/livez")).toBe(200);
      done.push("one");
      await many;
      expect(performance.now() - begin).toBeGreaterThan(3_000);
      expect(done).toEqual(["one", "many"]);
    } finally {
      await throttled.stop();
    }
  });
});

describe("the page", () => {
  it("is served at / and revalidated each time, and its assets may be cached for ever", async () => {
    const page = await bridge.call("/");
    expect([page.status, page.headers["cache-control"]]).toEqual([200, "no-cache"]);
    expect(page.text).toContain("<title>Skylapse</title>");
    const asset = await bridge.call("/assets/index-abc123.js");
    expect([asset.status, asset.headers["cache-control"]]).toEqual([200, "public, max-age=31536000, immutable"]);
  });

  it.each(["/.secret", "/../package.json", "/%2e%2e/package.json", "/assets/..%2f.secret"])(
    "does not serve %s",
    async (path) => {
      const { status, body } = await bridge.call(path);
      expect([400, 403, 404]).toContain(status);
      expect(body.error.code).toBeDefined();
    },
  );

  it("is replaced by a line of text if it is not built", async () => {
    const bare = await startTestBridge({ pagePath: join(pagePath, "assets") });
    try {
      const { status, headers, text: content } = await bare.call("/");
      expect([status, headers["content-type"]]).toEqual([200, "text/plain; charset=utf-8"]);
      expect(content).toContain("npm run build");
    } finally {
      await bare.stop();
    }
  });
});
