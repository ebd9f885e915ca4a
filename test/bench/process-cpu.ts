import { readFileSync } from "node:fs";

/** The unit of `times(2)` and /proc: USER_HZ, which Linux fixes at 100. */
const TICKS_PER_SECOND = 100;

/**
 * CPU seconds (user and system) of all threads of a process since its start. Excludes the time of
 * waiting for a core, so that other busy programs hardly change the result.
 */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // Fields are counted after the program's name in parentheses, because the name may contain blanks.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Microseconds of the monotonic clock, which all processes share. */
export function clockMicros(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1000);
}
