import { readFile } from "node:fs/promises";
import { uptime } from "node:os";

/** The running time of the machine, which nobody sets: it goes on over restarts of the server, and with each boot anew. */
export interface RunningTime {
  /** Names the boot of the machine; undefined where the system has no name for it. */
  readonly boot: string | undefined;
  /** Milliseconds since that boot, those in which the machine was suspended included. */
  now(): number;
}

export async function machineRunningTime(): Promise<RunningTime> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").then(
    (text) => text.trim(),
    () => undefined,
  );
  return { boot, now: () => uptime() * 1000 };
}
