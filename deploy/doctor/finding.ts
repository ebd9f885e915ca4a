/** The result of one check. */
export interface Finding {
  verdict: "ok" | "warn" | "wrong";
  /** The setting or the thing that was checked, such as `TLS_CERT` or `clock`. */
  subject: string;
  /** The result. If something is not in order, the text also says what to do. Never contains a secret. */
  text: string;
}

export const ok = (subject: string, text: string): Finding => ({ verdict: "ok", subject, text });
/** It works now, but may fail later or for some clients. */
export const warn = (subject: string, text: string): Finding => ({ verdict: "warn", subject, text });
/** It does not work. */
export const wrong = (subject: string, text: string): Finding => ({ verdict: "wrong", subject, text });
