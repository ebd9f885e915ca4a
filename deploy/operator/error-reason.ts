/** Why something failed: an error code such as `ECONNREFUSED` if there is one, otherwise the error's message. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // `fetch` rejects with "fetch failed"; the reason is in the cause.
  const { cause } = error;
  if (cause instanceof Error) return "code" in cause ? String(cause.code) : cause.message;
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
