import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const NAME = "last-backup.json";
const noteSchema = z.object({ madeAt: z.string() });

/** Notes in the data of the server that the data was copied. */
export async function noteBackup(dataPath: string, madeAt: string): Promise<void> {
  await writeFile(join(dataPath, NAME), JSON.stringify({ madeAt }), { mode: 0o600 });
}

/** When the data of the server was copied last, RFC 3339. Undefined: never, or the note cannot be read. */
export async function lastBackupAt(dataPath: string): Promise<string | undefined> {
  try {
    return noteSchema.parse(JSON.parse(await readFile(join(dataPath, NAME), "utf8"))).madeAt;
  } catch {
    return undefined;
  }
}
