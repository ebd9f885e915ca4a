import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Keeps the id of the store that a node used last, so that its next start detects that Redis has lost its data. */
export interface LastStore {
  /** Undefined before the first start. */
  read(): string | undefined;
  write(name: string): void;
}

export function lastStoreIn(dataPath: string): LastStore {
  const file = join(dataPath, "redis-store");
  return {
    read() {
      try {
        return readFileSync(file, "utf8").trim() || undefined;
      } catch {
        return undefined;
      }
    },
    write(name) {
      try {
        mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
        writeFileSync(file, `${name}\n`, { mode: 0o600 });
      } catch {
        // The node works without this file. If the disk cannot be written, other parts report that.
      }
    },
  };
}
