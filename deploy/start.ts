import { join } from "node:path";
import type { Logger } from "pino";
import { visible } from "../contract/visible-text.ts";
import { ConfigurationError } from "../platform/config.ts";
import { afterRunning } from "../platform/running-time.ts";
import { type Backend, startBackend } from "./backend.ts";
import { type BackendConfig, readBackendConfig } from "./config/backend-config.ts";
import { loadEnvFile } from "./config/env-file.ts";
import { packageRoot, version } from "./config/package.ts";
import { greeting } from "./greeting.ts";
import { createLogger } from "./logger.ts";

/**
 * A stop that takes longer than this, plus SHUTDOWN_SPREAD_MS, is cut short: the person who pressed Ctrl-C is waiting.
 * Only time in which this process ran is included, because a suspended machine does not mean that the stop is slow.
 */
const STOP_TIMEOUT_MS = 1900;
/**
 * A second signal within this time is regarded as the first one: a terminal sends a signal to npm and to this process,
 * and npm then repeats it.
 */
const SECOND_SIGNAL_MS = 300;

try {
  loadEnvFile(process.env);
  const config = readBackendConfig(process.env);
  const logger = createLogger(config.bridge.logLevel);
  const backend = await startBackend({ config, version, pagePath: join(packageRoot, "dist", "page"), logger });
  const stop = stopOnce(backend, config, logger);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  // A closed standard output must not end the server.
  process.stdout.on("error", () => logger.debug("standard output is closed"));
  process.stdout.write(greeting(config, backend));
} catch (error) {
  for (const problem of problemsOf(error))
    for (const line of problem.split("\n")) process.stderr.write(`Cannot start: ${visible(line)}\n`);
  process.exit(1);
}

/** @returns stops the backend and exits; a second call exits at once */
function stopOnce(backend: Backend, { bridge }: BackendConfig, logger: Logger): () => void {
  let stoppingSince: number | undefined;
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

function problemsOf(error: unknown): readonly string[] {
  if (error instanceof ConfigurationError) return error.problems;
  return [error instanceof Error ? error.message : String(error)];
}
