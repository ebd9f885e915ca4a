import { readFileSync } from "node:fs";

/** The number of files and sockets that a process may open. Node raises its own limit to this number at start-up. */
export function maxOpenFiles(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard ?? 0);
}
