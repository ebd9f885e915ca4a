import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { DialectName } from "../load/dialect.ts";
import type { Login } from "../load/mqtt-packets.ts";
import type { FeedOptions } from "../load/worker.ts";
import { cpuSecondsOf } from "../process-cpu.ts";
import { whenInterrupted } from "./leftovers.ts";
import type { Memory } from "./probe.ts";

const PROBE = new URL("./probe.js", import.meta.url).href;
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;

/** A server under test, in its own process. */
export interface Server {
  name: string;
  /** CPU seconds of all threads since the start. */
  cpuSeconds(): number;
  stop(): Promise<void>;
}

/** A server that delivers events to dashboards. */
export interface EventServer extends Server {
  dialect: DialectName;
  port: number;
  /** Memory in use after garbage collection. */
  memory(): Promise<Memory>;
  /** The number of dashboards, as reported by the server. */
  connections(): Promise<number>;
  /** One token for each of `count` users with the permission to read the dashboard. */
  tokens(count: number): string[];
  feed(payloadBytes: number): FeedOptions;
}

export interface MqttServer extends Server {
  mqttPort: number;
  login(clientId: string): Login;
}

/** The same server, whose clients use MQTT 5. */
export function ofMqtt5(start: () => Promise<MqttServer>): () => Promise<MqttServer> {
  return async () => {
    const server = await start();
    return { ...server, login: (clientId) => ({ ...server.login(clientId), level: 5 }) };
  };
}

export interface ServerProcess {
  child: ChildProcess;
  pid: number;
  /** The output until the server was ready. */
  output: string;
  cpuSeconds(): number;
  stop(): Promise<void>;
}

export interface ServerProcessOptions {
  command: string;
  args: readonly string[];
  env?: Record<string, string>;
  /** The output of a ready server. */
  ready: RegExp;
}

/** Starts a server. Resolves when the server reports that it is ready. */
export async function startProcess({ command, args, env = {}, ready }: ServerProcessOptions): Promise<ServerProcess> {
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  await once(child, "spawn");
  const { pid } = child;
  if (pid === undefined) throw new Error(`${command} did not start`);
  child.once(
    "exit",
    whenInterrupted(() => child.kill("SIGKILL")),
  );
  let output = "";
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`${command} ${args.join(" ")} ${why}:\n${output}`));
    const timer = setTimeout(() => fail(`was not ready within ${START_TIMEOUT_MS / 1000} s`), START_TIMEOUT_MS);
    const read = (chunk: Buffer) => {
      // Later output is read and dropped, so that the server does not block.
      if (output.length < 65_536) output += chunk;
      if (!ready.test(output)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on("data", read);
    child.stderr?.on("data", read);
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      fail(`ended with ${code ?? signal}`);
    });
  }).catch(async (error) => {
    await stopProcess(child);
    throw error;
  });
  return { child, pid, output, cpuSeconds: () => cpuSecondsOf(pid), stop: () => stopProcess(child) };
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

export interface NodeServerOptions {
  /** The compiled program. */
  program: URL;
  env?: Record<string, string>;
  ready: RegExp;
  /** A folder for a CPU profile, which costs time. Default: no profile. */
  profileTo: string | undefined;
}

/** Starts a Node server with a probe that reports its memory. */
export async function startNodeServer({ program, env, ready, profileTo }: NodeServerOptions) {
  const profile = profileTo === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileTo}`];
  const server = await startProcess({
    command: process.execPath,
    args: ["--expose-gc", "--import", PROBE, ...profile, fileURLToPath(program)],
    ready,
    ...(env === undefined ? {} : { env }),
  });

  async function askMemory(): Promise<Memory> {
    const answered = once(server.child, "message");
    server.child.send("memory");
    const [text] = await answered;
    return JSON.parse(String(text));
  }

  return { ...server, memory: askMemory };
}

/** The number of connections. Our server and its peer report this number at `/health`. */
export async function healthConnections(port: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/health`);
  const health: { connections: number } = await response.json();
  return health.connections;
}
