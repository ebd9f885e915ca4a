import type { FastifyRequest } from "fastify";

interface CookieOptions {
  path: string;
  maxAgeSeconds: number;
  sameSite: "Lax" | "Strict";
  /** Whether the browser sends the cookie over `https:` only. */
  isSecure: boolean;
}

/** The header `Set-Cookie`. Scripts of a page cannot read the cookie. The value must be a token of RFC 6265. */
export function cookieText(name: string, value: string, options: CookieOptions): string {
  const { path, maxAgeSeconds, sameSite, isSecure } = options;
  const attributes = [`Path=${path}`, `Max-Age=${maxAgeSeconds}`, "HttpOnly", `SameSite=${sameSite}`];
  return [`${name}=${value}`, ...attributes, ...(isSecure ? ["Secure"] : [])].join("; ");
}

export function cookieOf({ headers }: FastifyRequest, name: string): string | undefined {
  return pairsOf(headers.cookie)
    .find((pair) => pair.startsWith(`${name}=`))
    ?.slice(name.length + 1);
}

/** The names of the request's cookies that match, in the order of the request. */
export function cookieNames({ headers }: FastifyRequest, matching: RegExp): string[] {
  return pairsOf(headers.cookie)
    .map((pair) => pair.slice(0, pair.indexOf("=")))
    .filter((name) => matching.test(name));
}

const pairsOf = (header = "") => header.split(";").map((pair) => pair.trim());
