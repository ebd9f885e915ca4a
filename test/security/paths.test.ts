import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { smallJpeg } from "../support/jpeg.ts";
import { lines, rawHttp, statusesOf } from "./raw-http.ts";

/** Topics, wildcards, paths, line ends, headers and direction marks in place of a name. */
const NAMES = [
  ...["#", "+", "north/#", "../south", "north/events/x", "$SYS", "/", "\\", "..\\south", "..", ".", "%23", "%2e%2e"],
  ...["__proto__", "toString", "north\u0000", "north\n", "north\r\nX-Injected: 1", "\u2028north"],
  ...["\u202enorth", "\ufeffnorth", "nörth", "NORTH", " north", "north ", "-north", "north,south", "x".repeat(65)],
];
/** User names that are rejected: empty, too long, or with unprintable characters or outer spaces. */
const NO_USERS = [
  "",
  " ",
  " north",
  "north\u0000",
  "north\n",
  "a\r\nX-Injected: 1",
  "\u2028",
  "\u202enorth",
  "\ud800",
  "x".repeat(129),
];
const SECRET = "what lies outside";

const root = mkdtempSync(join(tmpdir(), "paths-"));
const pagePath = join(root, "page");
let bridge: TestBridge;

beforeAll(async () => {
  mkdirSync(join(pagePath, "assets"), { recursive: true });
  for (const file of ["../secret.txt", ".secret", "assets/.secret"]) writeFileSync(join(pagePath, file), SECRET);
  for (const file of ["index.html", "assets/app.js"]) writeFileSync(join(pagePath, file), "inside");
  bridge = await startTestBridge({
    pagePath,
    env: { MAX_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0", MAX_COMMANDS_PER_MINUTE: "0" },
  });
  bridge.link.connections.add("device:north");
  await bridge.say("cameras/north/previews/first", smallJpeg("of the north"));
  await bridge.say("cameras/south/previews/first", smallJpeg("of the south"));
});
afterAll(async () => {
  await bridge.stop();
  rmSync(root, { recursive: true });
});

const operate = (method: string, path: string, body?: unknown) =>
  bridge.call(path, { method, body, token: OPERATOR_KEY });
/** Sends the path as it is. An HTTP client would normalize it. */
async function get(path: string, token: string, ...headers: string[]): Promise<string> {
  const head = lines(
    `GET ${path} HTTP/1.1`,
    "Host: localhost",
    `Authorization: Bearer ${token}`,
    ...headers,
    "Connection: close",
  );
  return await (await rawHttp(bridge.port, head)).ended;
}

describe("a name that is a topic, a path, a line or a header", () => {
  it.each(NAMES)("is rejected as a channel, event, command, camera, device or picture: %j", async (name) => {
    const before = bridge.link.publications.length;
    const logged: string[] = [];
    const unfollow = bridge.journal.mqtt.publications.follow((batch) =>
      logged.push(...batch.map(({ topic }) => topic)),
    );
    const path = encodeURIComponent(name).replaceAll(".", "%2e");
    const answers = [
      await operate("POST", "/broadcast", { channel: name, event: "a.b" }),
      await operate("POST", "/broadcast", { channel: `camera:${name}`, event: "a.b" }),
      await operate("POST", "/broadcast", { event: name }),
      await operate("POST", "/cameras/north/commands?wait=0", { name: `capture ${name}` }),
      await operate("POST", `/cameras/${path}/commands`, { name: "capture.now" }),
      await operate("GET", `/cameras/${path}`),
      await operate("GET", `/cameras/${path}/latest.jpg`),
      await operate("GET", `/cameras/north/previews/${path}.jpg`),
      await operate("POST", "/devices", { id: name }),
      await operate("POST", `/devices/${path}/rotate`),
      await operate("DELETE", `/devices/${path}`),
      await operate("DELETE", `/connections/${path}`),
    ];
    for (const { status, headers } of answers) {
      expect([400, 404]).toContain(status);
      expect(headers).not.toHaveProperty("x-injected");
    }
    unfollow();
    const published = [...bridge.link.publications.slice(before).map(({ topic }) => topic), ...logged];
    expect(published.filter((topic) => /commands|channels/.test(topic))).toEqual([]);
    expect(bridge.authority.devices.list()).toEqual([]);
  });

  it.each(NO_USERS)("is rejected as a user: %j", async (user_id) => {
    const account = { user_id, password: "a mountain at dawn", role: "viewer" };
    expect((await operate("POST", "/users", account)).status).toBe(400);
    expect((await operate("POST", "/auth/token", { user_id, permissions: [] })).status).toBe(400);
    expect((await operate("POST", "/auth/login", account)).status).toBe(400);
    expect((await operate("POST", "/auth/revoke", { user_id })).status).toBe(400);
  });

  it.each(["__proto__", "constructor", "../alice", "#", "a/b", "operator", '"},{"'])(
    "is accepted as a user like any other: %j",
    async (user_id) => {
      const password = "a mountain at dawn";
      expect((await operate("POST", "/users", { user_id, password, role: "viewer" })).status).toBe(201);
      const login = await operate("POST", "/auth/login", { user_id, password });
      expect(login).toMatchObject({ status: 200, body: { user_id } });
      expect(login.body.permissions).not.toContain("admin");
      expect((await bridge.call("/users", { token: login.body.token })).status).toBe(403);
      expect((await operate("DELETE", `/users/${encodeURIComponent(user_id)}`)).status).toBe(204);
      expect(bridge.authority.accounts.list()).toEqual([]);
    },
  );
});

describe("a path that leads elsewhere", () => {
  it.each([
    ...[
      "/../secret.txt",
      "/..%2fsecret.txt",
      "/%2e%2e/secret.txt",
      "/%2e%2e%2fsecret.txt",
      "/..%5csecret.txt",
      "/..\\secret.txt",
    ],
    ...["/%252e%252e/secret.txt", "/..%252fsecret.txt", "/assets/../../secret.txt", "/assets/..%2f..%2fsecret.txt"],
    ...[
      "/assets/%2e%2e/%2e%2e/secret.txt",
      "/....//secret.txt",
      "/..;/secret.txt",
      "/%c0%ae%c0%ae/secret.txt",
      "//etc/passwd",
    ],
    ...[
      "/%2fetc%2fpasswd",
      "/file:///etc/passwd",
      "/.secret",
      "/%2esecret",
      "/assets/.secret",
      "/assets%2f.secret",
      "/assets/%2esecret",
    ],
    ...["/index.html%00.js", "/index.html%00", "/assets", "/assets/", "/assets/app.js/../../../secret.txt"],
  ])("finds nothing outside the page's folder: %s", async (path) => {
    const answer = await get(path, OPERATOR_KEY);
    expect(answer).not.toContain(SECRET);
    expect(answer).not.toContain("root:");
    expect([400, 403, 404]).toContain(statusesOf(answer)[0]);
  });

  it.each([
    ...[
      "../../south/previews/first.jpg",
      "..%2f..%2fsouth%2fpreviews%2ffirst.jpg",
      "%2e%2e%2f%2e%2e%2fsouth%2fpreviews%2ffirst.jpg",
    ],
    ...[
      "..%5c..%5csouth%5cpreviews%5cfirst.jpg",
      "..%252f..%252fsouth%252ffirst.jpg",
      "%2fetc%2fpasswd.jpg",
      "first%00.jpg",
    ],
    ...[
      "first.jpg%00",
      "first.jpg%0d%0aX-Injected:%201",
      ".jpg",
      "..jpg",
      "first",
      "first.JPG",
      "first.jpg.jpg",
      "first.jpg/",
      "*.jpg",
    ],
  ])("finds no picture of another camera: %s", async (file) => {
    const answer = await get(`/cameras/north/previews/${file}`, bridge.mint("camera:north:read"));
    expect(answer).not.toContain("of the south");
    expect(answer).not.toMatch(/^x-injected/im);
    expect([400, 403, 404]).toContain(statusesOf(answer)[0]);
  });

  it("does not affect valid paths: a picture and a file of the page are found", async () => {
    expect(await get("/cameras/north/previews/first.jpg", bridge.mint("camera:north:read"))).toContain("of the north");
    expect(await get("/assets/app.js", "x")).toContain("inside");
  });
});

describe("a header", () => {
  it.each([
    ["If-None-Match", '"a"\rX-Injected: 1'],
    ["If-None-Match", '*, *, ,,,"\\"'],
    ["Host", "localhost\rX-Injected: 1"],
    ["Host", "x; script-src *"],
    ["Origin", "https://evil.example\rX-Injected: 1"],
    ["Accept-Encoding", "../../secret"],
    ["Range", "bytes=0-0,0-0,0-0"],
    ["X-Forwarded-For", "\u0000"],
    ["X-Original-URL", "/users"],
    ["X-HTTP-Method-Override", "DELETE"],
  ])("%s: %j does not appear in the answer, and does not change it", async (name, value) => {
    const answer = await get("/cameras/north/latest.jpg", bridge.mint("camera:north:read"), `${name}: ${value}`);
    const [head = ""] = answer.split("\r\n\r\n");
    expect(head).not.toMatch(/x-injected|script-src \*|evil\.example/i);
    expect([200, 304, 400]).toContain(statusesOf(answer)[0]);
  });
});
