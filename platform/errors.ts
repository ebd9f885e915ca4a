/** The store did not take a write. The message was not accepted. */
export class StoreUnavailableError extends Error {
  override name = "StoreUnavailableError";
}
