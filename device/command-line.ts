import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, CommanderError } from "commander";

/** What the program exits with. */
export const ExitCode = {
  ok: 0,
  /** It could not run, for a reason that may pass: a supervisor starts it again. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The configuration is wrong: EX_CONFIG of sysexits.h. Starting again changes nothing. */
  configuration: 78,
} as const;

export interface Orders {
  /** The configuration file. Default: none. */
  config?: string;
  /** Only say whether the configuration is right. */
  checkConfig: boolean;
}

/**
 * Reads the command line. Prints help and version itself.
 * @returns the orders, or the code to exit with
 */
export function readCommandLine(args: readonly string[]): Orders | number {
  const program = new Command("skylapse-camera")
    .description("Runs a timelapse camera of Skylapse Realtime: takes pictures, keeps them, and loses none on the way.")
    .option("-c, --config <file>", "settings as a JSON object; environment variables win over it")
    .option("--check-config", "only say whether the configuration is right, and exit with 0 or 78", false)
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
Needed, in the file or the environment:
  CAMERA_ID, CAMERA_SECRET      whom the broker knows this camera as
  BROKER_URL                    such as mqtts://example.org:8883
  LOCATION_LAT, LOCATION_LON    where it stands, and TIMEZONE
  CAMERA_DRIVER                 simulated, rpicam, gphoto2 or folder
The README's section "A camera" explains these and all others.

Exit codes: 0 ended when told to, 1 failed, 2 wrong command line, 78 wrong configuration.
`;

/** Up from `device` or `dist/device` to where package.json is. */
function packageVersion(folder: string): string {
  const file = join(folder, "package.json");
  if (!existsSync(file)) return folder === dirname(folder) ? "unknown" : packageVersion(dirname(folder));
  const content: unknown = JSON.parse(readFileSync(file, "utf8"));
  return typeof content === "object" && content !== null && "version" in content ? String(content.version) : "unknown";
}
