import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyRequest } from "fastify";
import type { Grants } from "../../../contract/permissions.ts";
import { plainAddress } from "../../../platform/addresses.ts";
import { isLoopbackAddress } from "../../../platform/client-addresses.ts";
import { normalOrigin } from "../../../platform/origins.ts";
import type { Tokens } from "../../auth/tokens.ts";
import { forbidden, unauthorized } from "../errors.ts";

/** Who makes an HTTP request, and what they may do. */
export interface Caller {
  /** `local`: somebody on this machine during the first try. */
  kind: "operator" | "user" | "local";
  /** `user:alice`, `operator`, `local`: for logs, and as the sender of what they cause. */
  name: string;
  grants: Grants;
}

export interface Callers {
  /** To be waited for before a request is looked at. @throws {ProviderUnavailableError} */
  prepare(request: FastifyRequest): Promise<void>;
  /** By the operator key or a token. @throws {RequestError} 401 */
  of(request: FastifyRequest): Caller;
  /**
   * As {@link of}, but without credentials this machine may be enough.
   * @param advice what a request without credentials is told. Default: that it needs a token, and how to get one
   * @throws {RequestError} 401
   */
  orLocal(request: FastifyRequest, advice?: string): Caller;
  /** Whom the credentials name, were they good; else `unknown`. For the audit log. */
  nameOf(request: FastifyRequest): string;
}

export interface CallersOptions {
  tokens: Pick<Tokens, "prepare" | "verify">;
  grantsOf: (permissions: readonly string[]) => Grants;
  operatorKey: string | undefined;
  /** Whether requests of this machine need no credentials now: see {@link createCallers}. */
  isOpen: () => boolean;
  allowedOrigins: readonly string[];
}

/** What the documented calls of the owner's guide need that carry no credentials. */
const LOCAL_PERMISSIONS = ["broadcast:write", "system:read"];
const NEEDS_TOKEN =
  "This needs a token: Authorization: Bearer <token>. POST /auth/login gives one for an account, npx skylapse token for a program";
const LOCAL_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

export function createCallers(options: CallersOptions): Callers {
  const { tokens, grantsOf, operatorKey, isOpen, allowedOrigins } = options;
  const operator: Caller = { kind: "operator", name: "operator", grants: grantsOf(["admin"]) };
  const local: Caller = { kind: "local", name: "local", grants: grantsOf(LOCAL_PERMISSIONS) };

  function byCredentials(authorization: string): Caller {
    const bearer = bearerOf(authorization);
    if (bearer === undefined) throw unauthorized("The Authorization header must be: Bearer, a blank, the token");
    if (operatorKey !== undefined && sameSecret(bearer, operatorKey)) return operator;
    const { userId, permissions } = tokens.verify(bearer);
    return { kind: "user", name: `user:${userId}`, grants: grantsOf(permissions) };
  }

  /**
   * Each condition closes a way in: a page of another site in a browser on this machine (Origin), the same through a
   * name that resolves to 127.0.0.1 (Host), and strangers behind a proxy on this machine (forwarding headers). Where the
   * host is named twice, or in the request line too, a proxy may have looked at the other one. And a proxy that was told
   * nothing but where to send requests may send this server's own host and no forwarding header; HTTP/1.0 shows it, which
   * nginx speaks by default, and no client of today. One that speaks HTTP/1.1 and names itself in no header cannot be
   * told from a program of this machine: hence only during the first try, when there is nothing to guard.
   */
  function isLocal({ socket, headers, raw }: FastifyRequest): boolean {
    const peer = plainAddress(socket.remoteAddress ?? "");
    if (!isOpen() || !isLoopbackAddress(peer) || raw.httpVersion === "1.0") return false;
    const { host = "", origin } = headers;
    if (raw.headersDistinct.host?.length !== 1 || !raw.url?.startsWith("/")) return false;
    if (!LOCAL_HOST.test(host) || Object.keys(headers).some(isForwarding)) return false;
    return (
      origin === undefined || normalOrigin(origin) === normalOrigin(`http://${host}`) || allowedOrigins.includes(origin)
    );
  }

  function of(request: FastifyRequest, advice = NEEDS_TOKEN): Caller {
    const { authorization } = request.headers;
    // A proxy that lets requests through by what they show may have looked at the other one.
    if ((request.raw.headersDistinct.authorization?.length ?? 0) > 1)
      throw unauthorized("The Authorization header must be there once");
    if (authorization === undefined) throw unauthorized(advice);
    return byCredentials(authorization);
  }

  function orLocal(request: FastifyRequest, advice?: string): Caller {
    return request.headers.authorization === undefined && isLocal(request) ? local : of(request, advice);
  }

  return {
    async prepare({ headers }) {
      const bearer = bearerOf(headers.authorization ?? "");
      if (bearer !== undefined) await tokens.prepare(bearer);
    },
    of: (request) => of(request),
    orLocal,
    nameOf(request) {
      try {
        return of(request).name;
      } catch {
        return "unknown";
      }
    },
  };
}

/** @throws {RequestError} 403 naming what is missing */
export function demand(granted: boolean, permission: string): void {
  if (!granted) throw forbidden(`This needs the permission ${permission}`);
}

function bearerOf(authorization: string): string | undefined {
  return /^Bearer +([^\s]+) *$/i.exec(authorization)?.[1];
}

/** Whatever proxies are known to add, besides the two of RFC 7239 and RFC 9110: not all of them add those. */
const FORWARDING = /^(?:forwarded|via|x-real-ip|x-forwarded-.+|x-original-.+|.+-client-ip|.+-connecting-ip)$/;

function isForwarding(header: string): boolean {
  return FORWARDING.test(header);
}

/** In constant time: digests have one length, whatever the length of what was sent. */
function sameSecret(given: string, secret: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(secret));
}
