import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const cleanups = new Set<() => void>();

process.on("exit", () => {
  // Runs the newest clean-up first, so that a server ends before its folder is removed.
  for (const cleanup of [...cleanups].reverse()) cleanup();
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** Registers a clean-up that runs if the benchmark ends early. @returns a function that cancels the clean-up */
export function whenInterrupted(cleanup: () => void): () => void {
  cleanups.add(cleanup);
  return () => cleanups.delete(cleanup);
}

export interface TemporaryFolder {
  path: string;
  remove(): void;
}

export function temporaryFolder(): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), "skylapse-bench-"));
  const remove = () => rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  const done = whenInterrupted(remove);
  return {
    path,
    remove: () => {
      done();
      remove();
    },
  };
}
