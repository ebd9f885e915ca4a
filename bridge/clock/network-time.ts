import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";

const run = promisify(execFile);
const TIMEOUT_MS = 5_000;
/** systemd-timesyncd creates this file when it has synchronised with the network. A reboot removes the file. */
const TIMESYNCD_FILE = "/run/systemd/timesync/synchronized";

/**
 * Whether the system's clock is synchronised with network time. Checks the file of systemd-timesyncd; then
 * `timedatectl`, which reports the kernel's state; then `chronyc`, for systems without systemd.
 * @returns undefined when the system has none of these
 */
export async function networkTimeAgrees(): Promise<boolean | undefined> {
  if (existsSync(TIMESYNCD_FILE)) return true;
  const systemd = await outputOf("timedatectl", ["show", "--property=NTPSynchronized", "--value"]);
  if (systemd === "yes" || systemd === "no") return systemd === "yes";
  const chrony = await outputOf("chronyc", ["-c", "tracking"]);
  // The last field is: Normal, Insert second, Delete second, or Not synchronised.
  return chrony === undefined || chrony === "" ? undefined : !chrony.endsWith("Not synchronised");
}

async function outputOf(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await run(program, args, { timeout: TIMEOUT_MS })).stdout.trim();
  } catch {
    return undefined;
  }
}
