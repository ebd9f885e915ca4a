import { setImmediate as nextTurn } from "node:timers/promises";
import { packet } from "../../broker/raw-client.ts";
import type { Attack } from "../attack.ts";
import { RawMqtt } from "../raw-mqtt.ts";
import { tokenOf } from "../server.ts";

const CONNECTIONS = 30;
const PACKET_BYTES = 200_000;
/** Each connection sends so much of its packet, and stays open. */
const SENT_BYTES = 20_000;

export const bytesOneByOne: Attack = {
  name: "bytes-one-by-one",
  resource: "memory: packets that arrive in pieces",
  method: `${CONNECTIONS} connections of one user, half of them of MQTT 5, send a large PUBLISH byte by byte and never end it`,
  fills: true,
  maxGrowthBytes: 32 * 1024 * 1024,
  async abuse(target) {
    const clients: RawMqtt[] = [];
    for (let index = 0; index < CONNECTIONS; index++) {
      const protocolVersion = index % 2 === 0 ? 4 : 5;
      const login = { clientId: `mallory-${index}`, username: "mallory", password: tokenOf("mallory") };
      const { client, code } = await RawMqtt.open(target, { ...login, protocolVersion });
      if (code !== 0) throw new Error(`connection ${index} was refused with ${code}`);
      clients.push(client);
    }
    const publish = packet(0x30, Buffer.alloc(PACKET_BYTES, "a"));
    for (let at = 0; at < SENT_BYTES; at++) {
      const byte = publish.subarray(at, at + 1);
      for (const client of clients) client.write(byte);
      // The server reads what waits in a socket as one piece.
      await nextTurn();
    }
    const closed = clients.filter((client) => client.closed).length;
    if (closed > 0) throw new Error(`the server closed ${closed} of ${CONNECTIONS} connections`);
  },
};
