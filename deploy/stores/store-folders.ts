import { join } from "node:path";
import { databasePath } from "../../platform/level/database.ts";

/** The LevelDB folders below `DATA_PATH`, by name of the store. */
export function storeFolders(dataPath: string): Record<string, string> {
  return {
    journal: databasePath(join(dataPath, "journal")),
    mqtt: join(dataPath, "mqtt"),
    cluster: databasePath(join(dataPath, "cluster")),
  };
}
