import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { generate } from "mqtt-packet";
import { expect, it, onTestFinished } from "vitest";
import { Pace } from "../../broker/pace.ts";
import { paceReading } from "../../broker/paced-reading.ts";

const limits = { maxConnectBytes: 4096, maxPacketBytes: 300_000, maxFilters: 100 };

/** Both ends of a TCP connection. */
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

it("keeps no more of a flood in memory than the stream's buffer holds, however often it looks", async () => {
  const { near, far } = await connectionPair();
  const pace = new Pace({ messagesPerSecond: 500, bytesPerSecond: Infinity, pendingBytes: Infinity });
  const client = { pace, owedAnswers: 0, leavesBecause: undefined };
  let received = 0;
  near.on("readable", () => {
    for (let bytes = near.read(); bytes !== null; bytes = near.read()) received += bytes.length;
  });
  const letIn = paceReading(near, {
    socket: near,
    limits,
    clientOf: () => client,
    onProblem: (problem) => {
      throw new Error(problem);
    },
  });
  letIn();
  far.write(generate({ cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clientId: "a", clean: true }));
  const pings = Buffer.concat(Array.from({ length: 32_768 }, () => generate({ cmd: "pingreq" })));
  let most = 0;
  const flooding = setInterval(() => {
    if (far.writableLength === 0) for (let index = 0; index < 32; index++) far.write(pings);
    most = Math.max(most, near.readableLength);
  }, 1);
  onTestFinished(() => clearInterval(flooding));
  // A thousand packets are read, after many looks.
  await expect.poll(() => received, { timeout: 60_000 }).toBeGreaterThan(2_000);
  expect(most).toBeLessThan(300_000);
});
