/** The message says why a backup was not made or restored, and what to do. */
export class BackupError extends Error {
  override name = "BackupError";
}
