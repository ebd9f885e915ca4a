/** An error code such as `ECONNREFUSED`, or the message of an error without a code. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // `fetch` rejects with "fetch failed", and only the cause contains the reason.
  const { cause } = error;
  if (cause instanceof Error) return "code" in cause ? String(cause.code) : cause.message;
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
