import Database from "libsql";
import { messagesOf } from "../../platform/level/errors.ts";
import { BackupError } from "./backup-error.ts";

/**
 * Copies the SQLite file of the archive as of one moment, even while a server writes to the file.
 * @throws {BackupError}
 */
export function copyArchive(from: string, to: string): void {
  const database = new Database(from);
  try {
    database.prepare("vacuum into ?").run(to);
  } catch (error) {
    throw new BackupError(`${from} could not be copied: ${messagesOf(error)}`, { cause: error });
  } finally {
    database.close();
  }
}

/**
 * Reads the whole SQLite file of the archive.
 * @returns a description of the first damage; undefined if the file is not damaged
 */
export function damageOfArchive(file: string): string | undefined {
  const database = new Database(file);
  try {
    const row: unknown = database.prepare("pragma quick_check(1)").get();
    const text =
      row !== null && typeof row === "object" && "quick_check" in row ? String(row.quick_check) : "no result";
    return text === "ok" ? undefined : text;
  } catch (error) {
    return messagesOf(error);
  } finally {
    database.close();
  }
}
