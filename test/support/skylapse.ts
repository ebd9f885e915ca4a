import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { bundled, DIST } from "./bundled.ts";

/** The build under test, or another build to run the tests against. */
const TESTED = process.env.SERVER_DIST ?? DIST;
const START = "deploy/start.js";
const BUILT = join(TESTED, START);
const BUNDLED = process.env.SERVER_DIST === undefined ? bundled(START) : BUILT;

/** The log line of a server that has started, in a log of JSON. */
const READY = /^\{.*"msg":"ready"\}$/m;
const readySchema = z.object({
  addresses: z.object({
    Dashboard: z.string(),
    WebSocket: z.string(),
    // Not with MQTT_URL.
    MQTT: z.string().default(""),
    "MQTT over WebSocket": z.string().default(""),
  }),
});

/** The real program of `npm start`, in its own process. */
export interface Skylapse {
  process: ChildProcess;
  /** `http://127.0.0.1:…` */
  http: string;
  /** `ws://127.0.0.1:…/ws` */
  socket: string;
  /** `mqtt://127.0.0.1:…` */
  mqtt: string;
  mqttWs: string;
  dataPath: string;
  /** The whole output so far. */
  output(): string;
  /** The output to the standard error so far. */
  errors(): string;
  /** Resolves to the output once it contains the text. */
  printed(text: string | RegExp): Promise<string>;
  /** Ends the program (default SIGTERM). Resolves to the exit code, or to null if the signal killed the program. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

export interface SkylapseOptions {
  /** Default: a new folder, which {@link removeDataPath} removes. */
  dataPath?: string;
  env?: Record<string, string>;
  /** The program `node`. Default: the one that runs the tests. */
  node?: string;
  /** Starts the program as users do. Default: bundled, which needs half of the CPU time. */
  asBuilt?: boolean;
  /** The `dist` folder of another build, whose program starts as users do. Default: the build under test. */
  dist?: string;
}

export function makeDataPath(): string {
  return mkdtempSync(join(tmpdir(), "skylapse-test-"));
}

export function removeDataPath(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 5 });
}

/** Runs the program; resolves when it has exited. */
export async function runToEnd(
  options: SkylapseOptions,
): Promise<{ code: number | null; output: string; errors: string }> {
  const { child, output, errors } = launch(options);
  await once(child, "close");
  return { code: child.exitCode, output: output(), errors: errors() };
}

/** Starts the program on free ports of 127.0.0.1. Resolves when the program is ready. */
export async function startSkylapse(options: SkylapseOptions = {}): Promise<Skylapse> {
  const { child, dataPath, output, errors, printed } = launch(options);
  const text = await Promise.race([printed(READY), once(child, "close").then(() => undefined)]);
  if (text === undefined)
    throw new Error(`skylapse ended with ${child.exitCode} before it was ready:\n${output()}${errors()}`);
  const { addresses } = readySchema.parse(JSON.parse(READY.exec(text)?.[0] ?? ""));
  return {
    process: child,
    http: addresses.Dashboard.replace(/\/$/, ""),
    socket: addresses.WebSocket,
    mqtt: addresses.MQTT,
    mqttWs: addresses["MQTT over WebSocket"],
    dataPath,
    output: () => output() + errors(),
    errors,
    printed,
    end: async (signal = "SIGTERM") => {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const closed = once(child, "close");
      child.kill(signal);
      await closed;
      return child.exitCode;
    },
  };
}

function launch(options: SkylapseOptions) {
  const { dataPath = makeDataPath(), env = {}, node = process.execPath, asBuilt = false, dist } = options;
  const program = dist === undefined ? (asBuilt ? BUILT : BUNDLED) : join(dist, START);
  const child = spawn(node, [program], {
    // Not the project's folder, because a developer may have a file `.env` in it.
    cwd: tmpdir(),
    env: {
      PATH: process.env.PATH,
      DATA_PATH: dataPath,
      WS_PORT: "0",
      MQTT_PORT: "0",
      MQTT_WS_PORT: "0",
      SIMULATOR: "0",
      // The landscape for pictures of the default size takes seconds of CPU time.
      SIMULATOR_WIDTH: "320",
      LOG_LEVEL: "info",
      // Opening the archive takes half a second of CPU time. Tests of the archive switch it on.
      ARCHIVE: "off",
      // Long enough for a busy machine: these time-outs only end hangs.
      AUTH_TIMEOUT_MS: "120000",
      DRAIN_TIMEOUT_MS: "120000",
      MQTT_CONNECT_TIMEOUT_MS: "120000",
      MQTT_DRAIN_TIMEOUT_MS: "120000",
      REQUEST_TIMEOUT_MS: "120000",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    errors += chunk;
  });
  const printed = (wanted: string | RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (typeof wanted === "string" ? !output.includes(wanted) : !wanted.test(output)) return;
        stop();
        resolve(output);
      };
      const ended = () => {
        stop();
        reject(new Error(`ended before it printed ${wanted}:\n${output}${errors}`));
      };
      const stop = () => {
        child.stdout.off("data", look);
        child.off("close", ended);
      };
      child.stdout.on("data", look);
      child.once("close", ended);
      look();
    });
  return { child, dataPath, output: () => output, errors: () => errors, printed };
}
