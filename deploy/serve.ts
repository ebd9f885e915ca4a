import { join } from "node:path";
import type { Logger } from "pino";
import { visible } from "../contract/visible-text.ts";
import { ConfigurationError } from "../platform/config.ts";
import { messageOf } from "../platform/errors.ts";
import { afterRunning } from "../platform/running-time.ts";
import { startBackend } from "./backend.ts";
import { readBackendConfig } from "./config/backend-config.ts";
import { loadEnvFile } from "./config/env-file.ts";
import { packageRoot, version } from "./config/package.ts";
import { greetingJson, greetingText } from "./greeting.ts";
import { logFormatOf, openLog } from "./logger.ts";

/**
 * A stop that takes longer than this, plus SHUTDOWN_SPREAD_MS, is cut short. It takes less than 0.5 s on an idle machine,
 * and several seconds on a busy one or while a part recovers its data. Docker kills a container after 10 s. Time in which
 * the machine was suspended does not count.
 */
const STOP_TIMEOUT_MS = 8_000;

/**
 * Starts the server and runs it until `stopSignal` is aborted, which may happen during the start. Then exits with 0, or
 * with 1 if the server failed.
 */
export async function serve(stopSignal: AbortSignal): Promise<void> {
  try {
    loadEnvFile(process.env);
    const config = readBackendConfig(process.env);
    const format = logFormatOf(config.bridge.logFormat);
    const logger = await openLog({ level: config.bridge.logLevel, format });
    // A closed standard output must not end the server.
    process.stdout.on("error", () => logger.debug("standard output is closed"));
    whenAborted(stopSignal, () => {
      logger.info({ signal: stopSignal.reason }, "stopping");
      exitAfter(STOP_TIMEOUT_MS + config.bridge.shutdownSpreadMs, logger);
    });
    const pagePath = join(packageRoot, "dist", "page");
    const backend = await startBackend({ config, version, pagePath, logger, stopSignal });
    whenAborted(stopSignal, async () => {
      await backend.stop();
      logger.info("stopped");
      process.exit(0);
    });
    const greeting = format === "json" ? greetingJson : greetingText;
    process.stdout.write(greeting(config, backend));
  } catch (error) {
    if (stopSignal.aborted) process.exit(0);
    for (const problem of error instanceof ConfigurationError ? error.problems : [messageOf(error)])
      for (const line of problem.split("\n")) process.stderr.write(`Cannot start: ${visible(line)}\n`);
    process.exit(1);
  }
}

function whenAborted(signal: AbortSignal, callback: () => void): void {
  if (signal.aborted) callback();
  else signal.addEventListener("abort", callback, { once: true });
}

function exitAfter(milliseconds: number, logger: Logger): void {
  afterRunning(milliseconds, () => {
    logger.error("the server did not stop in time");
    process.exit(1);
  });
}
