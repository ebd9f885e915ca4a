import type { IncomingMessage } from "node:http";
import { plainAddress } from "./addresses.ts";
import type { LimitedLog } from "./limited-log.ts";
import { Occurrences } from "./occurrences.ts";

/**
 * Converts an origin to the form that browsers send (RFC 6454, section 6.2): lower case, without the default port.
 * @returns undefined for other text, such as a URL with a path or a user, or `null`
 */
export function normalOrigin(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { origin, protocol, host, pathname, search, hash, username, password } = new URL(text);
  if (host === "" || (pathname !== "" && pathname !== "/") || `${search}${hash}${username}${password}` !== "")
    return undefined;
  // `URL` reports the origin `null` for the schemes of mobile and desktop apps, such as `app://`.
  return origin === "null" ? `${protocol}//${host}`.toLowerCase() : origin;
}

interface OriginsOptions {
  /** In the form of {@link normalOrigin}. The server's own origin is always allowed. */
  allowed: readonly string[];
  /** Whether the X-Forwarded-Host and X-Forwarded-Proto of this address are trusted. */
  isTrustedProxy: (address: string) => boolean;
  log: LimitedLog;
  warn: (fields: { origin: string; host: string | undefined; times: number }, message: string) => void;
}

/** Decides which web pages may connect. */
export interface Origins {
  /** True for a program that is no browser: it sends no Origin. */
  allows(request: IncomingMessage): boolean;
  /** Whether a page of this origin may connect to the host of the request. */
  allowsPage(origin: string, request: IncomingMessage): boolean;
  /** The host and scheme that the client asked for, if known. */
  targetOf(request: IncomingMessage): { host: string | undefined; scheme: string | undefined };
  /** Records and logs a request that was refused because of its origin. */
  noteRefusal(request: IncomingMessage): void;
  /** Since the start. */
  refused(): ReturnType<Occurrences["list"]>;
}

/** Explains to an operator how to allow the origin. */
export function originAdvice(origin: string): string {
  return `pages of ${origin} may not connect: set ALLOWED_ORIGINS=${origin}. If a proxy is in front of this server, let the proxy pass the Host header and add the proxy to TRUSTED_PROXIES`;
}

/**
 * Checks the Origin header. The server's own pages are recognised by the Host header, or by X-Forwarded-Host and
 * X-Forwarded-Proto from a trusted proxy.
 */
export function createOrigins({ allowed, isTrustedProxy, log, warn }: OriginsOptions): Origins {
  const listed = new Set(allowed);
  const refused = new Occurrences(log);

  function allowsPage(text: string, request: IncomingMessage): boolean {
    const origin = normalOrigin(text);
    if (origin === undefined) return false;
    if (listed.has(origin)) return true;
    const { host, scheme = new URL(origin).protocol } = targetOf(request);
    return host !== undefined && normalOrigin(`${scheme}//${host}`) === origin;
  }

  function targetOf({ headers, socket }: IncomingMessage): ReturnType<Origins["targetOf"]> {
    if (!isTrustedProxy(plainAddress(socket.remoteAddress ?? ""))) return { host: headers.host, scheme: undefined };
    const scheme = firstOf(headers["x-forwarded-proto"]);
    return {
      host: firstOf(headers["x-forwarded-host"]) ?? headers.host,
      scheme: scheme === undefined ? undefined : `${scheme.toLowerCase().replace(/^ws/, "http")}:`,
    };
  }

  return {
    allows: (request) => request.headers.origin === undefined || allowsPage(request.headers.origin, request),
    allowsPage,
    targetOf,
    noteRefusal(request) {
      const origin = request.headers.origin?.slice(0, MAX_ORIGIN_LENGTH) ?? "";
      const { host } = targetOf(request);
      refused.note(origin, (times) =>
        warn({ origin, host, times }, originAdvice(normalOrigin(origin) ?? "this origin")),
      );
    },
    refused: () => refused.list(),
  };
}

/** A host name has at most 253 characters. */
const MAX_ORIGIN_LENGTH = 300;

/** Each proxy appends a value to the header. */
function firstOf(header: string | string[] | undefined): string | undefined {
  const [first] = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",");
  return first?.trim() || undefined;
}
