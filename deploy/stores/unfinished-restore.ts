import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "../../platform/sync-folder.ts";
import { BackupError } from "./backup-error.ts";

/** This file is in a DATA_PATH until all files of a backup have been restored. */
const MARK = "restore-unfinished";

/** Runs `work`, which restores a backup to `dataPath`. No server starts with the data before this has succeeded. */
export async function restoring(dataPath: string, work: () => Promise<void>): Promise<void> {
  const mark = join(dataPath, MARK);
  await writeFile(mark, "");
  await syncFolder(dataPath);
  await work();
  await rm(mark);
}

/** @throws {BackupError} a restore to `dataPath` was interrupted, so that data is missing, such as accounts */
export function demandFinishedRestore(dataPath: string): void {
  if (existsSync(join(dataPath, MARK)))
    throw new BackupError(
      `a restore to ${dataPath} is under way or was interrupted: wait for its end, or empty this folder and run ` +
        "`skylapse restore` again",
    );
}
