export interface Finding {
  verdict: "ok" | "warn" | "wrong";
  /** What was checked, such as `TLS_CERT` or `clock`. */
  subject: string;
  /** The result and, after a problem, what to do. Never contains a secret. */
  text: string;
}

export const ok = (subject: string, text: string): Finding => ({ verdict: "ok", subject, text });
/** The subject works now, but may fail later or for some clients. */
export const warn = (subject: string, text: string): Finding => ({ verdict: "warn", subject, text });
/** The subject does not work. */
export const wrong = (subject: string, text: string): Finding => ({ verdict: "wrong", subject, text });
