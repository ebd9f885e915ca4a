import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestBridge, type TestBridge } from "../bridge/support/test-bridge.ts";
import { TestClient } from "../bridge/websocket/client.ts";
import { frame, type RawWebSocket, rawWebSocket, type UpgradeOptions, upgradeRequest } from "./raw-web-socket.ts";

const ORIGIN = "https://sky.example.org";
let bridge: TestBridge;

beforeAll(async () => {
  bridge = await startTestBridge({
    env: { ALLOWED_ORIGINS: ORIGIN, MAX_MESSAGES_PER_SECOND: "0", MAX_CONNECTIONS_PER_USER: "0" },
  });
});
afterAll(() => bridge.stop());

const open = (options?: UpgradeOptions) => rawWebSocket(bridge.port, options);
const answerTo = async (headers: readonly string[]) => {
  const { socket, received } = await open({ headers });
  socket.destroy();
  return received().toString();
};
const authFrame = (...permissions: string[]) =>
  frame(JSON.stringify({ type: "auth", token: bridge.mint(...permissions) }));

async function authenticated(...permissions: string[]): Promise<RawWebSocket> {
  const peer = await open();
  peer.socket.write(authFrame(...permissions));
  await peer.untilReceived("auth_success");
  return peer;
}

async function client(...permissions: string[]): Promise<TestClient> {
  const connected = await new TestClient(`ws://127.0.0.1:${bridge.port}/ws`).opened();
  connected.send({ type: "auth", token: bridge.mint(...permissions) });
  await connected.next("auth_success");
  return connected;
}

describe("a cross-site WebSocket is rejected with 403", () => {
  it.each([
    ["of another site", "https://evil.example.org"],
    ["whose host begins like an allowed host", `${ORIGIN}.evil.example`],
    ["whose host ends like an allowed host", "https://evil-sky.example.org"],
    ["of an allowed host over http", "http://sky.example.org"],
    ["of an allowed host on another port", `${ORIGIN}:8443`],
    ["whose user name is an allowed host", "https://sky.example.org@evil.example"],
    ["of this host on another port", "http://127.0.0.1:1"],
    ["of a sandboxed page", "null"],
    ["of a file", "file://"],
    ["of an extension", "chrome-extension://abcdef"],
    ["with an invalid origin", "x\ty"],
  ])("from a page %s", async (_, origin) => {
    expect(await answerTo([`Origin: ${origin}`])).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
  });
});

it.each([
  ["permessage-deflate", "permessage-deflate; client_max_window_bits"],
  ["x-webkit-deflate-frame", "x-webkit-deflate-frame"],
])("the server does not negotiate compression that is offered as %s", async (_, offer) => {
  const answer = await answerTo([`Sec-WebSocket-Extensions: ${offer}`]);
  expect(answer).toMatch(/^HTTP\/1\.1 101 /);
  expect(answer).not.toMatch(/sec-websocket-extensions/i);
});

describe("a frame before authentication", () => {
  const large = "x".repeat(9000);
  it.each<[string, Buffer, number]>([
    ["that is compressed", frame("hello", { reserved: 4 }), 1002],
    ["with a reserved bit", frame("hello", { reserved: 1 }), 1002],
    ["with a reserved opcode", frame("hello", { opcode: 3 }), 1002],
    ["that is not masked", frame("hello", { masked: false }), 1002],
    ["that continues no message", frame("hello", { opcode: 0 }), 1002],
    ["that is a ping of 126 bytes", frame("x".repeat(126), { opcode: 9 }), 1002],
    ["that is a fragmented ping", frame("x", { opcode: 9, final: false }), 1002],
    ["that is not UTF-8", frame(Buffer.from([0xc3, 0x28])), 1007],
    ["that claims 64 KiB and a byte", frame("x", { claims: 65_537 }), 1009],
    ["that claims 2 GiB", frame("x", { claims: 2 ** 31 }), 1009],
    ["that claims more than a number can hold", frame("x", { claims: 2 ** 60 }), 1009],
    ["of 9,000 bytes", frame(large), 4003],
    [
      "of 9,000 bytes in two fragments",
      Buffer.concat([frame(large, { final: false }), frame("", { opcode: 0 })]),
      4003,
    ],
    ["of binary data", frame("{}", { opcode: 2 }), 4003],
    ["nested 40 levels deep", frame(`{"type":"auth","token":"x","a":${"[".repeat(40)}${"]".repeat(40)}}`), 4003],
    ["whose type is inherited", frame('{"__proto__":{"type":"auth","token":"x"}}'), 4003],
    ["whose token is an object", frame('{"type":"auth","token":{"toString":"x"}}'), 4002],
    ["whose token is inherited", frame('{"type":"auth","__proto__":{"token":"x"}}'), 4002],
  ])("%s closes the connection", async (_, bytes, code) => {
    const peer = await open();
    peer.socket.write(bytes);
    expect(await peer.closed).toBe(code);
  });

  it("that never ends is cut off at 16 KiB, whatever the size of its fragments", async () => {
    const peer = await open();
    peer.socket.write(frame("", { final: false }));
    const pieces = Buffer.concat(Array.from({ length: 400 }, () => frame("x".repeat(50), { opcode: 0, final: false })));
    peer.socket.write(pieces);
    expect(await peer.closed).toBe(4003);
  });

  it("in 1,025 fragments is cut off, however small the fragments are", async () => {
    const peer = await open();
    peer.socket.write(
      Buffer.concat(Array.from({ length: 1025 }, (_, n) => frame("", { opcode: n === 0 ? 1 : 0, final: false }))),
    );
    peer.socket.write(frame("", { opcode: 0, final: false }));
    expect([1008, 4003]).toContain(await peer.closed);
  });

  it("that is the thousandth ping gets no answer, and the connection is closed", async () => {
    const peer = await open();
    for (let count = 0; count < 10; count++)
      peer.socket.write(Buffer.concat(Array.from({ length: 100 }, () => frame("x".repeat(100), { opcode: 9 }))));
    // Bytes that arrive after the server has closed may reset the connection, and then the close frame is lost.
    expect([4003, 1006]).toContain(await peer.closed);
    expect(peer.received().length).toBeLessThan(200_000);
  });

  it("with a valid token is accepted, although more frames follow at once", async () => {
    const peer = await open();
    const more = frame(JSON.stringify({ type: "ping", id: "x".repeat(6000) }));
    peer.socket.write(Buffer.concat([authFrame("dashboard:read"), more, more, more, more]));
    await peer.untilReceived("auth_success");
    peer.socket.destroy();
  });
});

describe("pings of a client that does not read the answers", () => {
  it("close the connection before they fill the memory", async () => {
    const peer = await authenticated("dashboard:read");
    peer.socket.pause();
    const pings = Buffer.concat(Array.from({ length: 500 }, () => frame("x".repeat(125), { opcode: 9 })));
    const before = process.memoryUsage().rss;
    let sent = 0;
    const cut = new Promise<void>((resolve) => peer.socket.once("error", () => resolve()));
    const flood = () => {
      if (peer.socket.destroyed || sent > 200_000_000) return;
      sent += pings.length;
      peer.socket.write(pings, () => setImmediate(flood));
    };
    flood();
    await cut;
    expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000);
  });
});

describe("a name that is a topic, a path or an inherited property", () => {
  const HOSTILE = [
    ...["__proto__", "constructor", "toString", "hasOwnProperty"],
    ...[
      "#",
      "+",
      "camera:#",
      "camera:+",
      "camera:north/#",
      "camera:../south",
      "camera:",
      "camera:north:x",
      "camera:NORTH",
    ],
    ...["$SYS", "dashboard/#", "dashboard ", "Dashboard", "skylapse/v1/#", "camera:north\n", "camera:north\u0000", ""],
  ];

  it.each(HOSTILE)("is rejected as a channel: %j", async (channel) => {
    const peer = await client("admin");
    peer.send({ type: "subscribe", channel, id: 1 });
    expect(await peer.next("subscription_result")).toMatchObject({ channel, success: false, code: 102, id: 1 });
    peer.send({ type: "unsubscribe", channel, id: 2 });
    expect(await peer.next("unsubscription_result")).toMatchObject({ success: false, code: 107, id: 2 });
  });

  it.each([
    ["camera", "+"],
    ["camera", "#"],
    ["camera", "north/../south"],
    ["camera", "__proto__"],
    ["camera", "north\r\n"],
    ["camera", ""],
    ["name", "capture/now"],
    ["name", "#"],
    ["name", "__proto__"],
    ["name", "capture.now\u0000"],
    ["name", ".."],
    ["name", "x".repeat(64)],
  ])("is rejected in a command: %s %j", async (field, value) => {
    const peer = await client("admin");
    const before = bridge.link.publications.length;
    peer.send({ type: "command", camera: "north", name: "capture.now", id: 1, [field]: value });
    expect(await peer.next("command_result")).toMatchObject({ status: "rejected", code: 107, id: 1 });
    expect(bridge.link.publications.slice(before).filter(({ topic }) => topic.includes("/commands/"))).toEqual([]);
  });

  it.each([
    ["type", '{"type":"__proto__"}'],
    ["type", '{"type":"constructor"}'],
    ["type", '{"__proto__":{"type":"ping"}}'],
    ["id", '{"type":"ping","id":{"__proto__":1}}'],
    ["since", '{"type":"subscribe","channel":"dashboard","since":{"__proto__":{"epoch":"a","position":1}}}'],
    ["epoch", '{"type":"subscribe","channel":"dashboard","since":{"epoch":"","position":1}}'],
    ["position", '{"type":"subscribe","channel":"dashboard","since":{"epoch":"a","position":1e400}}'],
    ["args", '{"type":"command","camera":"north","name":"a","args":[]}'],
  ])("is rejected as %s: %s", async (_, message) => {
    const peer = await client("admin");
    peer.send(message);
    peer.send({ type: "ping", id: "after" });
    await peer.next("pong", ({ id }) => id === "after");
    const [answer] = peer.messages.slice(1);
    expect(answer).toMatchObject({ code: 107 });
    expect(Object.prototype).not.toHaveProperty("type", "ping");
  });

  it("pollutes no prototype when it is an argument of a command", async () => {
    const peer = await client("admin");
    bridge.link.connections.add("device:proto");
    peer.send(
      '{"type":"command","camera":"proto","name":"settings","args":{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}},"id":1}',
    );
    await peer.next("command_result");
    expect({}).not.toHaveProperty("polluted");
  });
});

describe("a client without permission", () => {
  it.each([
    [["camera:north:read"], "dashboard"],
    [["camera:north:read"], "camera:south"],
    [["dashboard:read"], "camera:north"],
    [["dashboard:read"], "alerts"],
    [["camera:+:read", "camera:#:read", "camera::read", "camera:*:read"], "camera:north"],
    [["Admin", "admin ", "ADMIN", "*", "#"], "dashboard"],
    [["__proto__", "constructor"], "system"],
  ])("with %j does not get %s", async (permissions, channel) => {
    const peer = await client(...permissions);
    peer.send({ type: "subscribe", channel });
    expect(await peer.next("subscription_result")).toMatchObject({ success: false, code: 103 });
  });
});

it.each([
  ["a path with two dots", upgradeRequest({ path: "/ws/../health" })],
  ["a second request behind it", Buffer.concat([upgradeRequest({ path: "/wsx" }), upgradeRequest()])],
  ["a body", Buffer.concat([upgradeRequest({ headers: ["Content-Length: 5"] }), Buffer.from("hello")])],
  ["a wrong version", Buffer.from(upgradeRequest().toString().replace("Version: 13", "Version: 8"))],
  [
    "no key",
    Buffer.from(
      upgradeRequest()
        .toString()
        .replace(/Sec-WebSocket-Key: .*\r\n/, ""),
    ),
  ],
])("serves other clients after an upgrade with %s", async (_, bytes) => {
  const { connect } = await import("node:net");
  const socket = connect(bridge.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  socket.end(bytes);
  await new Promise((resolve) => socket.once("close", resolve));
  expect((await bridge.call("/livez")).status).toBe(200);
});
