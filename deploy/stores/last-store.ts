import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Remembers which store a node was connected to, so that its next start sees that Redis was emptied meanwhile. */
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
        // A disk that takes no writes is told elsewhere; the node works without this.
      }
    },
  };
}
