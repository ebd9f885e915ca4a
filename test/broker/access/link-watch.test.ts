import { expect, it } from "vitest";
import { connectOf, TRANSPORTS } from "../../security/mqtt-program.ts";
import { NORTH, startTestBroker } from "../broker-under-test.ts";
import { TYPE } from "../raw-client.ts";

/** The first byte of an unmasked WebSocket ping frame. */
const PING = Buffer.from([0x89, 0]);
const env = { MQTT_HEARTBEAT_MS: "200" };

/** Connects over a WebSocket whose client does not answer pings. */
async function silentClient(ports: { mqttWs?: number }, keepalive: number) {
  const { peer, wrap } = await TRANSPORTS.WebSocket(ports);
  const bytes: Buffer[] = [];
  peer.socket.on("data", (chunk) => bytes.push(chunk));
  peer.send(wrap(connectOf("north", { keepalive })));
  return { peer, pinged: () => Buffer.concat(bytes).includes(PING) };
}

it("the broker disconnects a WebSocket client with keep-alive 0 that answers no ping", async () => {
  const { broker, logged } = await startTestBroker({ env });
  const { peer, pinged } = await silentClient(broker.ports, 0);
  await peer.ended;
  expect(pinged()).toBe(true);
  expect(await logged("no answer to a ping")).toMatchObject({ transport: "websocket" });
});

it("the broker keeps a client that answers pings, and does not ping a client with a keep-alive", async () => {
  const { broker, webSocketUrl, client } = await startTestBroker({ env });
  const answering = await client({ ...NORTH, url: webSocketUrl, keepalive: 0 });
  const promising = await silentClient(broker.ports, 60);
  // Three silent clients connect one after the other, and each is disconnected after two ping intervals. The other two
  // clients stay connected during these six intervals.
  for (let round = 0; round < 3; round++) await (await silentClient(broker.ports, 0)).peer.ended;
  expect(answering.connected).toBe(true);
  expect(promising.pinged()).toBe(false);
  expect(promising.peer.socket.destroyed).toBe(false);
});

it("the broker keeps a TCP client with keep-alive 0 while its machine answers the kernel's probes", async () => {
  const { broker } = await startTestBroker({ env });
  const { peer } = await TRANSPORTS.TCP(broker.ports);
  peer.send(connectOf("north", { keepalive: 0 }));
  expect((await peer.next(TYPE.connack)).readUInt8(1)).toBe(0);
  for (let round = 0; round < 3; round++) await (await silentClient(broker.ports, 0)).peer.ended;
  expect(peer.socket.destroyed).toBe(false);
});
