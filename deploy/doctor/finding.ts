export interface Finding {
  verdict: "ok" | "warn" | "wrong";
  /** What was looked at: the variable that says it, or a word. */
  subject: string;
  /** What was found; of what is not in order also what to do. Never a secret. */
  text: string;
}

export const ok = (subject: string, text: string): Finding => ({ verdict: "ok", subject, text });
/** It works, but may not tomorrow, or not for everybody. */
export const warn = (subject: string, text: string): Finding => ({ verdict: "warn", subject, text });
/** It does not work. */
export const wrong = (subject: string, text: string): Finding => ({ verdict: "wrong", subject, text });

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // What `fetch` throws says nothing; why is in its cause.
  const { cause } = error;
  if (cause instanceof Error) return "code" in cause ? String(cause.code) : cause.message;
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
