import { readFileSync } from "node:fs";

/** How many files, sockets among them, a process may open: Node raises its own limit to this when it starts. */
export function maxOpenFiles(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard ?? 0);
}
