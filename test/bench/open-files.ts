import { readFileSync } from "node:fs";

/** The most files and sockets that a process may open. Node.js raises its own limit to this number at the start. */
export function maxOpenFiles(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard ?? 0);
}
