import { readFileSync } from "node:fs";

/** What `times(2)` and /proc count in: USER_HZ, which Linux fixes at 100 for programs. */
const TICKS_PER_SECOND = 100;

/**
 * CPU time that a process has used since it began, all its threads, user and system, in seconds. Time spent waiting
 * for a core does not count, so another busy program moves a figure built on it little.
 */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is the program's name in parentheses and may hold blanks: count from behind it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Microseconds of the machine's monotonic clock: one clock for all processes, so they may compare. */
export function clockMicros(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1000);
}
