#!/usr/bin/env node
import { writeToStream } from "mqtt-packet";
import { pino } from "pino";
import sharp from "sharp";
import { ConfigurationError } from "../platform/config.ts";
import { messageOf } from "../platform/errors.ts";
import { LOG_OPTIONS } from "../platform/log-options.ts";
import { startCamera } from "./agent.ts";
import { type CommandLineOptions, ExitCode, readCommandLine } from "./command-line.ts";
import { type DeviceConfig, loadConfig, misspeltVariables } from "./config.ts";
import { createDriver } from "./create-driver.ts";
import { collectGarbageEarly } from "./host/garbage-collection.ts";
import { machineProblems } from "./machine-check.ts";

const options = readCommandLine(process.argv.slice(2));
if (typeof options === "number") process.exit(options);
const config = loadConfigOrExit(options);
for (const warning of misspeltVariables()) process.stderr.write(`Warning: ${warning}\n`);
if (options.checkConfig) {
  const problems = await machineProblems(config);
  for (const problem of problems) process.stderr.write(`Not ready to start: ${problem}\n`);
  if (problems.length === 0) process.stdout.write("The configuration is valid.\n");
  process.exit(problems.length === 0 ? ExitCode.ok : ExitCode.configuration);
}
// Every picture is processed once. A cache would use memory that a Raspberry Pi lacks.
sharp.cache(false);
sharp.concurrency(1);
// mqtt-packet's table of all numbers up to 65,535 takes 8 MB of memory.
writeToStream.cacheNumbers = false;
collectGarbageEarly();
// A signal during the start stops the camera once it has started.
const stopSignal = new Promise<void>((resolve) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
});
const logger = pino({ ...LOG_OPTIONS, level: config.logLevel });
try {
  const agent = await startCamera({ config: config.camera, camera: createDriver(config), logger });
  void stopSignal.then(() => agent.stop()).then(() => process.exit(ExitCode.ok));
} catch (error) {
  process.stderr.write(`Cannot start: ${messageOf(error)}\n`);
  process.exit(ExitCode.failed);
}

function loadConfigOrExit({ config: file }: CommandLineOptions): DeviceConfig {
  try {
    return loadConfig(file === undefined ? {} : { file });
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    for (const problem of error.problems) process.stderr.write(`Cannot start: ${problem}\n`);
    process.exit(ExitCode.configuration);
  }
}
