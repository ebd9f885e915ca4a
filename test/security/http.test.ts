import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { lines, type RawHttp, rawHttp, statusesOf } from "./raw-http.ts";

const ORIGIN = "https://sky.example.org";
const BODY = '{"user_id":"mallory","permissions":["admin"]}';
const LOCAL = "Host: localhost";
/** How many connections of each kind are open at once. */
const HELD = 150;
const BYTE_EVERY_MS = 100;
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({
    env: {
      ...{ ALLOWED_ORIGINS: ORIGIN, MAX_PAYLOAD_BYTES: "10000" },
      ...{ MAX_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0", MAX_TOKEN_REQUESTS_PER_MINUTE: "0" },
    },
  });
});
afterAll(() => bridge.stop());

const send = async (bytes: string, { port } = bridge) => await rawHttp(port, bytes);
const post = (...head: string[]) => lines("POST /auth/token HTTP/1.1", LOCAL, ...head);
/** A proxy that ends the preceding request earlier would read these bytes as a second request. */
const SMUGGLED = lines("GET /smuggled HTTP/1.1", LOCAL);

describe("a request whose end two readers could place differently", () => {
  it.each<[string, string]>([
    ["Content-Length and Transfer-Encoding", `${post("Content-Length: 5", "Transfer-Encoding: chunked")}0\r\n\r\n`],
    ["Transfer-Encoding and Content-Length", `${post("Transfer-Encoding: chunked", "Content-Length: 5")}0\r\n\r\n`],
    ["two lengths", post(`Content-Length: ${BODY.length}`, "Content-Length: 0") + BODY],
    ["one length twice", post(`Content-Length: ${BODY.length}`, `Content-Length: ${BODY.length}`) + BODY],
    ["a list of lengths", post(`Content-Length: ${BODY.length}, ${BODY.length}`) + BODY],
    ["a length with a sign", post(`Content-Length: +${BODY.length}`) + BODY],
    ["a negative length", post("Content-Length: -1")],
    ["a hexadecimal length", post("Content-Length: 0x2d") + BODY],
    ["a length that overflows", post("Content-Length: 99999999999999999999")],
    ["the encoding identity", post("Transfer-Encoding: identity")],
    ["an unknown encoding", `${post("Transfer-Encoding: xchunked")}0\r\n\r\n`],
    ["an encoding behind a vertical tab", `${post("Transfer-Encoding:\u000bchunked")}0\r\n\r\n`],
    ["a space after the name of the encoding header", `${post("Transfer-Encoding : chunked")}0\r\n\r\n`],
    ["the same encoding twice", `${post("Transfer-Encoding: chunked, chunked")}0\r\n\r\n`],
    ["chunked as an encoding that is not the last", `${post("Transfer-Encoding: chunked, gzip")}0\r\n\r\n`],
    ["an encoding on a folded line", `${post("X: a", " Transfer-Encoding: chunked")}0\r\n\r\n`],
    ["a negative chunk size", `${post("Transfer-Encoding: chunked")}-1\r\n\r\n`],
    ["a chunk size that begins with 0x", `${post("Transfer-Encoding: chunked")}0x5\r\nhello\r\n0\r\n\r\n`],
    ["a chunk size that overflows", `${post("Transfer-Encoding: chunked")}FFFFFFFFFFFFFFFFF\r\n`],
    ["a chunk longer than its size", `${post("Transfer-Encoding: chunked")}5\r\n${BODY}\r\n0\r\n\r\n`],
    ["a chunk size whose line ends without CR", `${post("Transfer-Encoding: chunked")}2d\n${BODY}\r\n0\r\n\r\n`],
    ["a chunk extension of 20,000 characters", `${post("Transfer-Encoding: chunked")}5;${"x".repeat(20_000)}\r\n`],
    ["lines that end without CR", "GET /health HTTP/1.1\nHost: localhost\n\n"],
    ["lines that end without LF", "GET /health HTTP/1.1\rHost: localhost\r\r"],
    ["a NUL in a header", lines("GET /health HTTP/1.1", LOCAL, "X: a\u0000b")],
    ["a CR in a header", lines("GET /health HTTP/1.1", LOCAL, "X: a\rTransfer-Encoding: chunked")],
    ["a header without a name", lines("GET /health HTTP/1.1", LOCAL, ": x")],
    ["a header name with a space", lines("GET /health HTTP/1.1", LOCAL, "X Y: x")],
    ["the HTTP version 1.2", lines("GET /health HTTP/1.2", LOCAL)],
    ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["no Host header", lines("GET /health HTTP/1.1")],
  ])("with %s gets 400, and the connection is closed before the next request", async (_, bytes) => {
    const answer = await (await send(bytes + SMUGGLED)).ended;
    expect(statusesOf(answer)).toEqual([400]);
    expect(answer).not.toContain("smuggled");
  });

  it.each<[string, string, number[]]>([
    ["a body in a GET request", `${lines("GET /livez HTTP/1.1", LOCAL, "Content-Length: 5")}hello`, [200, 404]],
    ["an end that is unambiguous", lines("GET /livez HTTP/1.1", LOCAL), [200, 404]],
    ["an unknown expectation", lines("GET /livez HTTP/1.1", LOCAL, "Expect: miracles"), [417, 404]],
  ])("with %s is answered, and so is the next request", async (_, bytes, expected) => {
    const { received } = await send(bytes + SMUGGLED);
    await expect.poll(() => statusesOf(received())).toEqual(expected);
  });
});

it.each<[string, string, number[]]>([
  ["CONNECT to a port of this machine", lines("CONNECT 127.0.0.1:22 HTTP/1.1", LOCAL), []],
  ["TRACE", lines("TRACE /health HTTP/1.1", LOCAL, "Connection: close"), [405]],
  ["an unknown method", lines("HACK /health HTTP/1.1", LOCAL), [400]],
  ["a path of 17,000 characters", lines(`GET /${"a".repeat(17_000)} HTTP/1.1`, LOCAL), [431]],
  ["a header of 17,000 characters", lines("GET / HTTP/1.1", LOCAL, `X: ${"a".repeat(17_000)}`), [431]],
  [
    "2,000 headers of 30,000 characters in all",
    lines("GET / HTTP/1.1", LOCAL, ...Array(2000).fill("X-Name: value")),
    [431],
  ],
  [
    "a body longer than MAX_PAYLOAD_BYTES",
    post("Content-Length: 10001", "Connection: close") + "x".repeat(10_001),
    [413],
  ],
])("rejects %s", async (_, bytes, statuses) => {
  expect(statusesOf(await (await send(bytes)).ended)).toEqual(statuses);
});

it("the server cuts off an endless body at MAX_PAYLOAD_BYTES", async () => {
  const { socket, ended } = await send(post("Transfer-Encoding: chunked"));
  const more = () => {
    if (!socket.destroyed) socket.write(`3e8\r\n${"x".repeat(1000)}\r\n`, more);
  };
  more();
  expect(statusesOf(await ended)).toEqual([413]);
});

describe("clients that send slowly", () => {
  let hasty: TestBridge;

  beforeAll(async () => {
    // A separate bridge, whose timeout is short, but long enough to answer other clients.
    hasty = await startTestBridge({
      env: {
        REQUEST_TIMEOUT_MS: "3000",
        MAX_REQUESTS_PER_MINUTE: "0",
        MAX_REQUESTS_PER_SECOND: "0",
        MAX_TOKEN_REQUESTS_PER_MINUTE: "0",
      },
    });
  });
  afterAll(() => hasty.stop());

  it("are disconnected by the hundred while other clients are answered", { timeout: 60_000 }, async () => {
    const openers = [
      "",
      "GET /health HTTP/1.1\r\nX-Slow: ",
      post("Content-Length: 9999"),
      post("Transfer-Encoding: chunked"),
    ];
    const held: RawHttp[] = [];
    for (const opener of openers) for (let count = 0; count < HELD; count++) held.push(await send(opener, hasty));
    const drip = setInterval(() => {
      // Connections of the first kind send nothing at all.
      for (const { socket } of held.slice(HELD)) if (socket.writable) socket.write("1");
    }, BYTE_EVERY_MS);
    let answered = 0;
    let isOver = false;
    const all = Promise.all(held.map(({ ended }) => ended)).finally(() => {
      isOver = true;
      clearInterval(drip);
    });
    while (!isOver) {
      expect((await hasty.call("/health")).status).toBe(200);
      answered++;
    }
    expect(answered).toBeGreaterThan(5);
    const statuses = (await all).map((answer) => statusesOf(answer));
    // An endless chunk size may become too large before the timeout.
    for (const status of statuses) expect([[408], [400], []]).toContainEqual(status);
  });
});

describe("a page of another origin", () => {
  it.each([
    ["https://evil.example"],
    ["null"],
    [`${ORIGIN}.evil.example`],
    [`${ORIGIN}:8443`],
    ["http://sky.example.org"],
  ])("%s gets no permission in the answer to a preflight or another request", async (origin) => {
    const asking = { "access-control-request-method": "DELETE", "access-control-request-headers": "authorization" };
    const answers = [
      await bridge.call("/users/alice", { method: "OPTIONS", headers: { origin, ...asking } }),
      await bridge.call("/health", { headers: { origin } }),
      await bridge.call("/users", { headers: { origin }, token: bridge.mint("admin") }),
    ];
    for (const { headers } of answers) {
      expect(headers).not.toHaveProperty("access-control-allow-origin");
      expect(headers).toMatchObject({ vary: expect.stringContaining("Origin") });
    }
  });

  it("that is allowed may send a token, but not the browser's credentials", async () => {
    const { headers } = await bridge.call("/users", { headers: { origin: ORIGIN }, token: bridge.mint("admin") });
    expect(headers["access-control-allow-origin"]).toBe(ORIGIN);
    expect(headers).not.toHaveProperty("access-control-allow-credentials");
  });

  it("cannot load an answer into a window, a frame or a script", async () => {
    expect((await bridge.call("/health")).headers).toMatchObject({
      "cross-origin-resource-policy": "same-origin",
      "cross-origin-opener-policy": "same-origin",
      "content-security-policy": expect.stringContaining("frame-ancestors 'none'"),
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    });
  });
});
