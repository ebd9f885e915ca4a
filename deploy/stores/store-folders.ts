import { existsSync } from "node:fs";
import { join } from "node:path";
import { databasePath } from "../../platform/level/database.ts";

/** The folder in which versions before the log kept MQTT sessions. The first start renames it. */
export function earlierSessionsPath(dataPath: string): string {
  return join(dataPath, "mqtt");
}

/** Whether the file below `DATA_PATH` is left over from {@link earlierSessionsPath}. */
export function isSetAside(name: string): boolean {
  return name.startsWith("mqtt-before-one-log");
}

/** The LevelDB folders below `DATA_PATH`, by name of the store. */
export function storeFolders(dataPath: string): Record<string, string> {
  const earlier = earlierSessionsPath(dataPath);
  return {
    journal: databasePath(join(dataPath, "journal")),
    ...(existsSync(earlier) ? { mqtt: earlier } : {}),
    cluster: databasePath(join(dataPath, "cluster")),
  };
}
