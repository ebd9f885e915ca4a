import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { MOSQUITTO } from "../../support/programs.ts";
import { temporaryFolder } from "./leftovers.ts";
import { type MqttServer, startProcess } from "./server.ts";

/**
 * Mosquitto with everything in memory and without features that cost time: no log of connections, no authentication, no
 * delay of small packets. The option `-v` is not set, because it writes a log line for each message into a pipe.
 */
export async function startMosquitto(): Promise<MqttServer> {
  const port = await freePort();
  const folder = temporaryFolder();
  const config = join(folder.path, "mosquitto.conf");
  writeFileSync(
    config,
    [
      `listener ${port} 127.0.0.1`,
      "allow_anonymous true",
      "persistence false",
      "set_tcp_nodelay true",
      "connection_messages false",
      // Without this user, Mosquitto would drop root's rights, and could not read its configuration.
      ...(process.getuid?.() === 0 ? ["user root"] : []),
      "",
    ].join("\n"),
  );
  const server = await startProcess({ command: MOSQUITTO, args: ["-c", config], ready: /running/ });
  return {
    name: "Mosquitto",
    mqttPort: port,
    cpuSeconds: server.cpuSeconds,
    login: (clientId) => ({ clientId }),
    stop: async () => {
      await server.stop();
      folder.remove();
    },
  };
}

/** Finds a free port, because Mosquitto cannot choose a port itself. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}
