import { readFileSync } from "node:fs";
import { temporaryFolder } from "../bench/servers/leftovers.ts";
import { startNodeServer } from "../bench/servers/server.ts";
import { JWT_SECRET, signToken } from "../bench/servers/tokens.ts";

const OPERATOR_KEY = "operator-key-of-the-abuse-table";

/** The addresses of the server under test, and the credentials of every role. */
export interface Target {
  httpPort: number;
  mqttPort: number;
  dataPath: string;
  /** Secrets of the devices `honest` and `abuser`. */
  secrets: Readonly<Record<string, string>>;
}

export interface AbusedServer {
  target: Target;
  /** Everything logged since the start. */
  log(): string;
  /** CPU seconds of all threads since the start. */
  cpuSeconds(): number;
  /** The largest resident memory since the start, bytes. */
  peakBytes(): number;
  stop(): Promise<void>;
}

/**
 * Starts the program with its default limits and registers the cameras `honest` and `abuser`.
 * @param program `deploy/start.js` of a build, which may be of another version
 * @param options.profileTo a folder for a CPU profile
 */
export async function startServer(
  program: URL,
  { env = {}, profileTo }: { env?: Readonly<Record<string, string>>; profileTo?: string | undefined } = {},
): Promise<AbusedServer> {
  const folder = temporaryFolder();
  const server = await startNodeServer({
    program,
    env: {
      DATA_PATH: folder.path,
      WS_PORT: "0",
      MQTT_PORT: "0",
      MQTT_WS_PORT: "0",
      SIMULATOR: "0",
      LOG_LEVEL: "info",
      JWT_SECRET,
      OPERATOR_KEY,
      ...env,
    },
    ready: /"msg":"ready"/,
    profileTo,
  });
  let logged = server.output;
  for (const stream of [server.child.stdout, server.child.stderr])
    stream?.on("data", (chunk: Buffer) => {
      logged += chunk;
    });
  const httpPort = portOf(server.output, /"WebSocket":"ws:\/\/\S+?:(\d+)/);
  const secrets: Record<string, string> = {};
  for (const id of ["honest", "abuser"]) secrets[id] = await register(httpPort, id);
  return {
    target: {
      httpPort,
      mqttPort: portOf(server.output, /"MQTT":"mqtt:\/\/\S+?:(\d+)/),
      dataPath: folder.path,
      secrets,
    },
    log: () => logged,
    cpuSeconds: server.cpuSeconds,
    peakBytes: () => peakBytesOf(server.pid),
    stop: async () => {
      await server.stop();
      folder.remove();
    },
  };
}

export const OPERATOR_HEADERS = { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" };

/** A user's token, signed with the shared secret. */
export function tokenOf(user: string, ...permissions: string[]): string {
  return signToken(user, permissions);
}

async function register(httpPort: number, id: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/devices`, {
    method: "POST",
    headers: OPERATOR_HEADERS,
    body: JSON.stringify({ id }),
  });
  const device: { secret?: string } = await response.json();
  if (device.secret === undefined) throw new Error(`no secret for ${id}: ${response.status}`);
  return device.secret;
}

function peakBytesOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

function portOf(output: string, line: RegExp): number {
  const port = line.exec(output)?.[1];
  if (port === undefined) throw new Error(`no line like ${line} in:\n${output}`);
  return Number(port);
}
