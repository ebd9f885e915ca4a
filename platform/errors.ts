/** The store could not be written or read now. Nothing was accepted; the caller may retry. */
export class StoreUnavailableError extends Error {
  override name = "StoreUnavailableError";
}
