import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, CommanderError } from "commander";

export const ExitCode = {
  ok: 0,
  /** The reason may be temporary: a supervisor restarts the program. */
  failed: 1,
  usage: 2,
  /** EX_CONFIG of sysexits.h: a restart does not help. */
  configuration: 78,
} as const;

export interface CommandLineOptions {
  config?: string;
  checkConfig: boolean;
}

/** Prints help and version itself. @returns the options, or the exit code */
export function readCommandLine(args: readonly string[]): CommandLineOptions | number {
  const program = new Command("skylapse-camera")
    .description(
      "Runs a timelapse camera of Skylapse Realtime: takes pictures, stores them, and publishes them to the server.",
    )
    .option("-c, --config <file>", "a JSON file with settings; environment variables override it")
    .option("--check-config", "only check the configuration, and exit with 0 or 78", false)
    .version(packageVersion(dirname(fileURLToPath(import.meta.url))), "--version")
    .addHelpText("after", HELP)
    .allowExcessArguments(false)
    .exitOverride();
  try {
    program.parse([...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  }
  const { config, checkConfig } = program.opts<{ config?: string; checkConfig: boolean }>();
  return { checkConfig, ...(config === undefined ? {} : { config }) };
}

const HELP = `
Required, in the file or the environment:
  CAMERA_ID, CAMERA_SECRET      the camera's login on the server
  BROKER_URL                    such as mqtts://example.org:8883
  LOCATION_LAT, LOCATION_LON    the camera's place, and TIMEZONE
  CAMERA_DRIVER                 simulated, rpicam, gphoto2 or folder
docs/camera.md explains the setup, docs/configuration.md all settings.

Exit codes: 0 stopped by a signal, 1 failed, 2 invalid command line, 78 invalid configuration.
`;

/** The version in the nearest package.json, from `device` or `dist/device` upwards. */
function packageVersion(folder: string): string {
  const file = join(folder, "package.json");
  if (!existsSync(file)) return folder === dirname(folder) ? "unknown" : packageVersion(dirname(folder));
  const content: unknown = JSON.parse(readFileSync(file, "utf8"));
  return typeof content === "object" && content !== null && "version" in content ? String(content.version) : "unknown";
}
