import { readFileSync } from "node:fs";

/** The unit of `times(2)` and /proc: USER_HZ, which Linux fixes at 100. */
const TICKS_PER_SECOND = 100;

/**
 * CPU seconds (user and system) of all threads of a process since its start. Does not include the time that is spent
 * waiting for a core, so other busy programs hardly change the result.
 */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field is the program's name in parentheses and may contain blanks, so the count starts after that name.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Microseconds of the machine's monotonic clock, which all processes share and can compare. */
export function clockMicros(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1000);
}
