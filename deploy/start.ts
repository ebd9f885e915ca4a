import { join } from "node:path";
import type { Logger } from "pino";
import { visible } from "../contract/visible-text.ts";
import { ConfigurationError } from "../platform/config.ts";
import { messageOf } from "../platform/errors.ts";
import { afterRunning } from "../platform/running-time.ts";
import { type Backend, startBackend } from "./backend.ts";
import { type BackendConfig, readBackendConfig } from "./config/backend-config.ts";
import { loadEnvFile } from "./config/env-file.ts";
import { packageRoot, version } from "./config/package.ts";
import { greeting } from "./greeting.ts";
import { createLogger } from "./logger.ts";

/**
 * The server stops within this time plus SHUTDOWN_SPREAD_MS, because somebody who pressed Ctrl-C is waiting. Excludes
 * the time in which this machine was suspended.
 */
const STOP_TIMEOUT_MS = 1900;
/**
 * A second signal within this time is ignored: npm repeats a signal that the terminal has also sent to this process.
 */
const SECOND_SIGNAL_MS = 300;

try {
  loadEnvFile(process.env);
  const config = readBackendConfig(process.env);
  const logger = createLogger(config.bridge.logLevel);
  const backend = await startBackend({ config, version, pagePath: join(packageRoot, "dist", "page"), logger });
  const stop = stopOnce(backend, config, logger);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  // Without a listener, a closed standard output would end the server.
  process.stdout.on("error", () => logger.debug("standard output is closed"));
  process.stdout.write(greeting(config, backend));
} catch (error) {
  for (const problem of error instanceof ConfigurationError ? error.problems : [messageOf(error)])
    for (const line of problem.split("\n")) process.stderr.write(`Cannot start: ${visible(line)}\n`);
  process.exit(1);
}

/** Returns a function that stops the backend and exits. A second call exits at once. */
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
