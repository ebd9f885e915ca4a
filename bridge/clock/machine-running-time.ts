import { readFile } from "node:fs/promises";
import { uptime } from "node:os";

/**
 * The running time of the machine. Nobody can set it. It continues across restarts of the server, and starts again at
 * each boot.
 */
export interface RunningTime {
  /** The id of the machine's boot; undefined on systems without one. */
  readonly boot: string | undefined;
  /** Milliseconds since that boot, including the time in which the machine was suspended. */
  now(): number;
}

export async function machineRunningTime(): Promise<RunningTime> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
  return { boot, now: () => uptime() * 1000 };
}
