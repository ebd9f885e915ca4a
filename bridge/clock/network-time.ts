import { execFile } from "node:child_process";
import { access } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const TIMEOUT_MS = 5_000;
/** systemd-timesyncd creates this file once it has synchronised with the network. The file disappears at each boot. */
const TIMESYNCD_FILE = "/run/systemd/timesync/synchronized";

/**
 * Whether the system's clock is synchronised with network time. Checks the file of systemd-timesyncd; then
 * `timedatectl`, which reports the kernel's state, whatever program set it; then `chronyc`, for systems without
 * systemd.
 * @returns undefined when none of them is available
 */
export async function networkTimeAgrees(): Promise<boolean | undefined> {
  if (await exists(TIMESYNCD_FILE)) return true;
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

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
