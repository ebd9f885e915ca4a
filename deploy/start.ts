import { join } from "node:path";
import { Writable } from "node:stream";
import pino, { type Logger } from "pino";
import pinoPretty from "pino-pretty";
import { terminalText, visible } from "../contract/visible-text.ts";
import { ConfigurationError } from "../platform/config.ts";
import { plainLines } from "../platform/plain-lines.ts";
import { afterRunning } from "../platform/running-time.ts";
import { type Backend, startBackend } from "./backend.ts";
import { type BackendConfig, readBackendConfig } from "./config/backend-config.ts";
import { loadEnvFile } from "./config/env-file.ts";
import { insecureSwitches } from "./config/warnings.ts";
import { packageRoot, version } from "./package.ts";
import { describePlace, parseRedisUrl } from "./redis/redis-url.ts";

/**
 * A stop that takes longer, beyond SHUTDOWN_SPREAD_MS, is ended: whoever pressed Ctrl-C waits for it. Of the time that
 * this process ran: a machine that stood still is no stop that hangs.
 */
const STOP_TIMEOUT_MS = 1900;
/** A second signal that comes sooner is the same one again: npm passes on what its terminal has sent to both. */
const SECOND_SIGNAL_MS = 300;

let stoppingSince: number | undefined;

try {
  loadEnvFile(process.env);
  const config = readBackendConfig(process.env);
  const logger = makeLogger(config.bridge.logLevel);
  const backend = await startBackend({ config, version, pagePath: join(packageRoot, "dist", "page"), logger });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stopOnce(backend, config, logger));
  // It serves, whether or not somebody reads.
  process.stdout.on("error", () => logger.debug("nobody reads the standard output"));
  process.stdout.write(greeting(config, backend));
} catch (error) {
  process.stderr.write(
    `${problemsOf(error)
      .flatMap((problem) => problem.split("\n"))
      .map((line) => `Cannot start: ${visible(line)}\n`)
      .join("")}`,
  );
  process.exit(1);
}

/** @returns stops; called again, ends the program at once */
function stopOnce(backend: Backend, { bridge }: BackendConfig, logger: Logger): () => void {
  return () => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince >= SECOND_SIGNAL_MS) process.exit(1);
      return;
    }
    stoppingSince = performance.now();
    afterRunning(STOP_TIMEOUT_MS + bridge.shutdownSpreadMs, () => {
      logger.error("did not stop in time");
      process.exit(1);
    });
    void backend.stop().then(() => process.exit(0));
  };
}

function greeting(config: BackendConfig, { addresses, cameras, firstTry, withoutAccounts }: Backend): string {
  const { bridge, simulator, store } = config;
  const lines: (readonly [string, string])[] = [
    ...addresses,
    ["Data", store.url === undefined ? `${bridge.dataPath} (LevelDB)` : redisLine(store.url, store.prefix)],
    [
      "Cameras",
      cameras.length > 0
        ? `${cameras.join(", ")} (simulated, a picture every ${simulator.CAPTURE_INTERVAL_S} s)`
        : "none simulated",
    ],
  ];
  if (withoutAccounts && !firstTry)
    lines.push([
      "Accounts",
      "none, so nobody can log in to the dashboard: npx skylapse user add NAME --role admin makes one",
    ]);
  for (const warning of insecureSwitches(config, firstTry)) lines.push(["Warning", warning]);
  const width = Math.max(...lines.map(([label]) => label.length));
  const body = lines.map(([label, text]) => `  ${label.padEnd(width)}  ${text}\n`).join("");
  return `\nSkylapse Realtime ${version} is ready after ${process.uptime().toFixed(1)} s\n\n${body}\nCtrl-C stops it.\n`;
}

/** Never with a password. */
function redisLine(url: string, prefix: string): string {
  const place = parseRedisUrl(url);
  const where = `${place.kind === "single" ? "redis://" : ""}${describePlace(place)}`;
  return `${where} (Redis, prefix ${prefix})`;
}

/** Logs go to standard error: readable lines on a terminal, JSON for everybody else. */
function makeLogger(level: string): Logger {
  const stream = pino.destination({ dest: 2, sync: true });
  if (process.stderr.isTTY) {
    const terminal = new Writable({
      write(text, _encoding, done) {
        stream.write(terminalText(String(text)));
        done();
      },
    });
    return pino({ level }, pinoPretty({ destination: terminal, sync: true, ignore: "pid,hostname" }));
  }
  return pino({ level }, { write: (line: string) => stream.write(plainLines(line)) });
}

function problemsOf(error: unknown): readonly string[] {
  if (error instanceof ConfigurationError) return error.problems;
  return [error instanceof Error ? error.message : String(error)];
}
