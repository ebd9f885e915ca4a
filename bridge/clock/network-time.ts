import { execFile } from "node:child_process";
import { access } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const TIMEOUT_MS = 5_000;
/** systemd-timesyncd makes the file once it has the time from the network, and removes it at boot. */
const TIMESYNCD_FILE = "/run/systemd/timesync/synchronized";

/**
 * Whether the system's clock follows network time. By systemd-timesyncd's own file; by `timedatectl`, which tells what the
 * kernel knows, whatever program has set it; by `chronyc`, where there is no systemd.
 * @returns undefined where nothing tells
 */
export async function networkTimeAgrees(): Promise<boolean | undefined> {
  if (await exists(TIMESYNCD_FILE)) return true;
  const systemd = await outputOf("timedatectl", ["show", "--property=NTPSynchronized", "--value"]);
  if (systemd === "yes" || systemd === "no") return systemd === "yes";
  const chrony = await outputOf("chronyc", ["-c", "tracking"]);
  // The last field of the line: Normal, Insert second, Delete second, or Not synchronised.
  return chrony === undefined || chrony === "" ? undefined : !chrony.endsWith("Not synchronised");
}

async function outputOf(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await run(program, args, { timeout: TIMEOUT_MS })).stdout.trim();
  } catch {
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
