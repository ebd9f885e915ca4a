import { readFile } from "node:fs/promises";
import { uptime } from "node:os";

/** The running time of the machine, which nobody can set. It continues across restarts of the server. */
export interface RunningTime {
  /** The id of the machine's boot; undefined on systems without boot ids. */
  readonly boot: string | undefined;
  /** Milliseconds since that boot, including the time in which the machine was suspended. */
  now(): number;
}

export async function machineRunningTime(): Promise<RunningTime> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => undefined);
  return { boot: boot?.trim(), now: () => uptime() * 1000 };
}
