import { once } from "node:events";
import { connect, createServer, Socket } from "node:net";
import { PassThrough } from "node:stream";
import { generate } from "mqtt-packet";
import { expect, it, onTestFinished } from "vitest";
import { throttleReading } from "../../../broker/listeners/throttled-reading.ts";
import { RateLimiter } from "../../../platform/rate-limiter.ts";

const connectPacket = generate({ cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clientId: "a", clean: true });
const unlimited = { messagesPerSecond: Infinity, bytesPerSecond: Infinity, pendingBytes: Infinity };
const limits = { maxConnectBytes: 4096, maxPacketBytes: 300_000, maxMqtt5PacketBytes: 300_000, maxFilters: 100 };

async function connectionPair(): Promise<{ near: Socket; far: Socket }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const accepted = once(server, "connection");
  const far = connect(address.port, "127.0.0.1");
  const [near]: Socket[] = await accepted;
  if (near === undefined) throw new Error("no connection");
  for (const socket of [near, far]) socket.on("error", () => {});
  onTestFinished(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

it("throttled reading buffers no more of a flood than the stream's own buffer, however often a consumer reads", async () => {
  const { near, far } = await connectionPair();
  const rateLimiter = new RateLimiter({ ...unlimited, messagesPerSecond: 500 });
  const client = { rateLimiter, expectedAcks: 0, disconnectReason: undefined };
  let received = 0;
  near.on("readable", () => {
    for (let bytes = near.read(); bytes !== null; bytes = near.read()) received += bytes.length;
  });
  const { stopCounting: letIn } = throttleReading(near, {
    socket: near,
    limits,
    clientOf: () => client,
    onProblem: (problem) => {
      throw new Error(problem.why);
    },
  });
  letIn();
  far.write(connectPacket);
  const pings = Buffer.concat(Array.from({ length: 32_768 }, () => generate({ cmd: "pingreq" })));
  let most = 0;
  const flooding = setInterval(() => {
    if (far.writableLength === 0) for (let index = 0; index < 32; index++) far.write(pings);
    most = Math.max(most, near.readableLength);
  }, 1);
  onTestFinished(() => clearInterval(flooding));
  // 2,000 bytes are a thousand packets, which the broker reads in many parts.
  await expect.poll(() => received, { timeout: 60_000 }).toBeGreaterThan(2_000);
  expect(most).toBeLessThan(300_000);
});

it("throttled reading stops at a client whose link is full, and goes on when the link has drained", async () => {
  const { near, far } = await connectionPair();
  const client = { rateLimiter: new RateLimiter(unlimited), expectedAcks: 0, disconnectReason: undefined };
  let received = 0;
  near.on("readable", () => {
    for (let bytes = near.read(); bytes !== null; bytes = near.read()) received += bytes.length;
  });
  const { stopCounting: letIn } = throttleReading(near, {
    socket: near,
    limits,
    clientOf: () => client,
    onProblem: (problem) => {
      throw new Error(problem.why);
    },
  });
  letIn();
  far.pause();
  near.write(Buffer.alloc(48_000_000));
  expect(near.writableNeedDrain).toBe(true);
  const pings = Buffer.concat(Array.from({ length: 20_000 }, () => generate({ cmd: "pingreq" })));
  far.write(Buffer.concat([connectPacket, pings]));
  await expect.poll(() => received).toBeGreaterThanOrEqual(8_192);
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
  // 4,096 packets, and the rest of a turn.
  expect(received).toBeLessThan(connectPacket.length + 8_192 + 64);
  far.resume();
  await expect.poll(() => received).toBe(connectPacket.length + pings.length);
});

it("throttled reading passes on a complete packet that is longer than one read", async () => {
  const connection = new PassThrough({ highWaterMark: 1_000_000 });
  const client = { rateLimiter: new RateLimiter(unlimited), expectedAcks: 0, disconnectReason: undefined };
  const publication = generate({
    cmd: "publish",
    topic: "t",
    payload: Buffer.alloc(200_000),
    qos: 0,
    dup: false,
    retain: false,
  });
  connection.write(connectPacket);
  let received = 0;
  const { stopCounting: letIn } = throttleReading(connection, {
    socket: new Socket(),
    limits,
    clientOf: () => client,
    onProblem: (problem) => {
      throw new Error(problem.why);
    },
  });
  letIn();
  // Aedes reads once per `readable` event, and again only after a complete packet.
  connection.on("readable", () => {
    received += connection.read()?.length ?? 0;
  });
  await expect.poll(() => received).toBe(connectPacket.length);
  connection.write(publication);
  await expect.poll(() => received).toBe(connectPacket.length + publication.length);
});

it("passes a packet that arrives byte by byte on in few pieces", async () => {
  const connection = new PassThrough();
  const pieces: Buffer[] = [];
  connection.on("readable", () => {
    for (let bytes = connection.read(); bytes !== null; bytes = connection.read()) pieces.push(bytes);
  });
  const onProblem = (problem: { why: string }) => expect.fail(problem.why);
  throttleReading(connection, { socket: connection, limits, clientOf: () => undefined, onProblem });
  const publish = generate({
    cmd: "publish",
    topic: "a",
    payload: "x".repeat(9_000),
    qos: 0,
    retain: false,
    dup: false,
  });
  const ping = generate({ cmd: "pingreq" });
  const input = Buffer.concat([connectPacket, publish, ping]);
  for (const byte of input) {
    connection.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(Buffer.concat(pieces)).toEqual(input);
  // The CONNECT, three pieces of the PUBLISH, and the PINGREQ.
  expect(pieces.length).toBe(5);
});
