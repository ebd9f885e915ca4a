import { createHmac } from "node:crypto";

export const SECRET = "a secret of the tests, that signs";

export function seconds(): number {
  return Date.now() / 1000;
}

/** The claims of a token that is valid if the right secret signs it. */
export function goodClaims(): Record<string, unknown> {
  return { user_id: "mallory", permissions: ["admin"], iat: seconds() - 1, exp: seconds() + 600 };
}

export interface Forgery {
  /** Header fields that are added to `alg` and `typ` or replace them, or the whole header as text. */
  header?: Record<string, unknown> | string;
  /** The claims, or the whole payload as text. Default: {@link goodClaims}. */
  claims?: Record<string, unknown> | string;
  secret?: string;
  hash?: string;
}

/** Builds a token by hand, also with contents that no library would write. */
export function forge({ header = {}, claims = goodClaims(), secret = SECRET, hash = "sha256" }: Forgery = {}): string {
  const part = (text: string | object) =>
    Buffer.from(typeof text === "string" ? text : JSON.stringify(text)).toString("base64url");
  const content = `${part(typeof header === "string" ? header : { alg: "HS256", typ: "JWT", ...header })}.${part(claims)}`;
  return `${content}.${createHmac(hash, secret).update(content).digest("base64url")}`;
}
