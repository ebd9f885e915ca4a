/** The store is unavailable and has accepted nothing. The caller may retry. */
export class StoreUnavailableError extends Error {
  override name = "StoreUnavailableError";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
