import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Keeps the id of the store that a node used last, so that the next start detects a Redis that has lost its data. */
interface LastStore {
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
        // The node works without this file, and other parts report a disk that cannot be written.
      }
    },
  };
}
