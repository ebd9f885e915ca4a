import type { IncomingMessage } from "node:http";
import { plainAddress } from "./addresses.ts";
import type { LimitedLog } from "./limited-log.ts";
import { Occurrences } from "./occurrences.ts";

/**
 * An origin in the one form in which browsers send it (RFC 6454, section 6.2): without the default port, in lower case.
 * @returns undefined for what is no origin: with a path, with a user, or `null`
 */
export function normalOrigin(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { origin, protocol, host, pathname, search, hash, username, password } = new URL(text);
  if (host === "" || (pathname !== "" && pathname !== "/") || `${search}${hash}${username}${password}` !== "")
    return undefined;
  // Of schemes that the standard does not know, such as those of apps, `URL` calls the origin `null`.
  return origin === "null" ? `${protocol}//${host}`.toLowerCase() : origin;
}

export interface OriginsOptions {
  /** In the form of {@link normalOrigin}; `*` is all. The server's own is always allowed. */
  allowed: readonly string[];
  /** Whether the peer of this address is a proxy that is trusted to say for which host and scheme it asks. */
  isTrustedProxy: (address: string) => boolean;
  /** Gets a line a minute for each origin that is refused. */
  log: LimitedLog;
  /** Writes that line. */
  warn: (fields: { origin: string; host: string | undefined; times: number }, message: string) => void;
}

/** Which web pages may connect. One for each listener. */
export interface Origins {
  /** A program that is no browser names no origin, and is allowed. */
  allows(request: IncomingMessage): boolean;
  /** The same for a request as a page of this origin would make it. */
  allowsPage(origin: string, request: IncomingMessage): boolean;
  /** To be called for a request that was refused for its origin. */
  noteRefusal(request: IncomingMessage): void;
  /** The origins that were refused since the start. */
  refused(): ReturnType<Occurrences["list"]>;
}

/** What an operator does about a refused origin that should be allowed. */
export function originAdvice(origin: string): string {
  return `pages of ${origin} may not connect: set ALLOWED_ORIGINS=${origin}, or, if this server is behind a proxy, pass Host on and name the proxy in TRUSTED_PROXIES`;
}

/**
 * The token travels in the first frame, so a foreign page has nothing to ride on; the check keeps it from trying at all. Own
 * pages are known by the host that they were loaded from, whatever scheme a proxy has ended: the Host header, or of a trusted
 * proxy X-Forwarded-Host and X-Forwarded-Proto.
 */
export function createOrigins({ allowed, isTrustedProxy, log, warn }: OriginsOptions): Origins {
  const all = allowed.includes("*");
  const listed = new Set(allowed);
  const sightings = new Occurrences(log);

  function allowsPage(text: string, request: IncomingMessage): boolean {
    if (all) return true;
    const origin = normalOrigin(text);
    if (origin === undefined) return false;
    if (listed.has(origin)) return true;
    const { host, scheme = new URL(origin).protocol } = placeOf(request);
    return host !== undefined && normalOrigin(`${scheme}//${host}`) === origin;
  }

  /** Where the client has asked, as far as that is known. */
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
      sightings.note(origin, (times) =>
        warn({ origin, host, times }, originAdvice(normalOrigin(origin) ?? "this origin")),
      );
    },
    refused: () => sightings.list(),
  };
}

/** A name of a host has at most 253 characters. */
const MAX_ORIGIN_LENGTH = 300;

/** Each proxy adds what it was asked for behind what those before it say. */
function firstOf(header: string | string[] | undefined): string | undefined {
  const [first] = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",");
  return first?.trim() || undefined;
}
