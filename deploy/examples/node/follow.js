// Prints the events of all cameras. Needs the packages skylapse-realtime and, before Node.js 22, ws.
//
//   SKYLAPSE_TOKEN=... node follow.js ws://localhost:8082/ws

import { createClient } from "skylapse-realtime/client";

const [, , url = "ws://localhost:8082/ws"] = process.argv;
const client = createClient({
  url,
  getToken: () => process.env.SKYLAPSE_TOKEN ?? "",
  // Node.js 20 has no WebSocket.
  WebSocket: globalThis.WebSocket ?? (await import("ws")).WebSocket,
});
client.subscribe("dashboard", {
  onEvent: ({ event, camera, data, snapshot }) => {
    console.log(snapshot ? "state" : "event", event, camera ?? "", JSON.stringify(data));
  },
  onGap: ({ reason, after, before }) => console.log(`missing ${after} to ${before}: ${reason}`),
});
client.onState(({ status }) => console.error(status));
client.connect();
