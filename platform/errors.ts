/** The store cannot be written or read at the moment. Nothing was accepted; the caller may retry. */
export class StoreUnavailableError extends Error {
  override name = "StoreUnavailableError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
