import type { IncomingMessage } from "node:http";
import { plainAddress } from "./addresses.ts";
import type { LimitedLog } from "./limited-log.ts";
import { Occurrences } from "./occurrences.ts";

/**
 * Converts an origin to the form that browsers send (RFC 6454, section 6.2): in lower case, and without the default
 * port.
 * @returns undefined for text that is not an origin, such as a URL with a path or a user, or `null`
 */
export function normalOrigin(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { origin, protocol, host, pathname, search, hash, username, password } = new URL(text);
  if (host === "" || (pathname !== "" && pathname !== "/") || `${search}${hash}${username}${password}` !== "")
    return undefined;
  // `URL` reports the origin `null` for schemes that the standard does not know, such as those of apps.
  return origin === "null" ? `${protocol}//${host}`.toLowerCase() : origin;
}

export interface OriginsOptions {
  /** Origins in the form of {@link normalOrigin}. The server's own origin is always allowed. */
  allowed: readonly string[];
  /** Whether this address is a proxy whose X-Forwarded-Host and X-Forwarded-Proto are trusted. */
  isTrustedProxy: (address: string) => boolean;
  /** Limits the log to one line a minute for each refused origin. */
  log: LimitedLog;
  /** Writes the line. */
  warn: (fields: { origin: string; host: string | undefined; times: number }, message: string) => void;
}

/** Decides which web pages may connect. Each listener has its own instance. */
export interface Origins {
  /** Whether the request may connect. A program that is not a browser sends no Origin and is allowed. */
  allows(request: IncomingMessage): boolean;
  /** Whether a page of this origin may connect to the host of the request. */
  allowsPage(origin: string, request: IncomingMessage): boolean;
  /** Records a request that was refused because of its origin. */
  noteRefusal(request: IncomingMessage): void;
  /** The origins that were refused since the start. */
  refused(): ReturnType<Occurrences["list"]>;
}

/** Tells an operator how to allow a refused origin. */
export function originAdvice(origin: string): string {
  return `pages of ${origin} may not connect: set ALLOWED_ORIGINS=${origin}. If a proxy is in front of this server, let the proxy pass the Host header and add the proxy to TRUSTED_PROXIES`;
}

/**
 * Checks the Origin header. A foreign page has no credentials to abuse, because the token is sent in the first frame
 * and not in a cookie. The check refuses such a page before it can try to connect. The server's own pages are
 * recognised by their host: the Host header, or X-Forwarded-Host and X-Forwarded-Proto from a trusted proxy.
 */
export function createOrigins({ allowed, isTrustedProxy, log, warn }: OriginsOptions): Origins {
  const listed = new Set(allowed);
  const refused = new Occurrences(log);

  function allowsPage(text: string, request: IncomingMessage): boolean {
    const origin = normalOrigin(text);
    if (origin === undefined) return false;
    if (listed.has(origin)) return true;
    const { host, scheme = new URL(origin).protocol } = placeOf(request);
    return host !== undefined && normalOrigin(`${scheme}//${host}`) === origin;
  }

  /** The host and scheme that the client asked for, as far as they are known. */
  function placeOf({ headers, socket }: IncomingMessage): { host: string | undefined; scheme: string | undefined } {
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
    noteRefusal(request) {
      const origin = request.headers.origin?.slice(0, MAX_ORIGIN_LENGTH) ?? "";
      const { host } = placeOf(request);
      refused.note(origin, (times) =>
        warn({ origin, host, times }, originAdvice(normalOrigin(origin) ?? "this origin")),
      );
    },
    refused: () => refused.list(),
  };
}

/** A host name has at most 253 characters. */
const MAX_ORIGIN_LENGTH = 300;

/** The first value of a list header: each proxy appends its own value. */
function firstOf(header: string | string[] | undefined): string | undefined {
  const [first] = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",");
  return first?.trim() || undefined;
}
