import type { IncomingMessage } from "node:http";
import type { FastifyRequest } from "fastify";
import type { Grants } from "../../contract/permissions.ts";
import { plainAddress } from "../../platform/addresses.ts";
import { isLoopbackAddress } from "../../platform/client-addresses.ts";
import { normalOrigin } from "../../platform/origins.ts";
import { sameSecret } from "../../platform/same-secret.ts";
import type { Audit } from "../auth/audit.ts";
import type { AuditAction } from "../auth/audit-entry.ts";
import type { Tokens } from "../auth/tokens.ts";
import { forbidden, unauthorized } from "./errors.ts";

export interface Caller {
  /** `local`: a program on this machine in trial mode. */
  kind: "operator" | "user" | "local";
  /** `user:alice`, `operator` or `local`: for logs, and as the sender of events that the request causes. */
  name: string;
  /** Undefined unless `kind` is `user`. */
  userId?: string;
  /** The login that issued the token. Undefined for other tokens. */
  sessionId?: string | undefined;
  grants: Grants;
}

export interface Callers {
  /** Await this before you call the other methods. @throws {ProviderUnavailableError} */
  prepare(request: FastifyRequest): Promise<void>;
  /** The caller, from the operator key or the token. @throws {RequestError} 401 */
  of(request: FastifyRequest): Caller;
  /**
   * Like {@link of}, but a request from this machine may need no credentials.
   * @param advice the error message for a request without credentials. Default: how to get a token
   * @throws {RequestError} 401
   */
  orLocal(request: FastifyRequest, advice?: string): Caller;
  /** The caller's name for the audit log; `unknown` without valid credentials. */
  nameOf(request: FastifyRequest): string;
}

interface CallersOptions {
  tokens: Pick<Tokens, "prepare" | "verify">;
  grantsOf: (permissions: readonly string[]) => Grants;
  operatorKey: string | undefined;
  /** Whether requests from this machine need no credentials now. */
  isOpen: () => boolean;
  allowedOrigins: readonly string[];
}

/** The permissions of programs on this machine that send no credentials in trial mode. */
const LOCAL_PERMISSIONS = ["broadcast:write", "system:read"];
const NEEDS_TOKEN =
  "This needs a token: Authorization: Bearer <token>. POST /auth/login gives one for an account, npx skylapse token for a program";
const LOCAL_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i;

export function createCallers(options: CallersOptions): Callers {
  const { tokens, grantsOf, operatorKey, isOpen, allowedOrigins } = options;
  const operator: Caller = { kind: "operator", name: "operator", grants: grantsOf(["admin"]) };
  const local: Caller = { kind: "local", name: "local", grants: grantsOf(LOCAL_PERMISSIONS) };

  /**
   * Whether a program on this machine sent the request. Each condition excludes one kind of attacker:
   *
   * - `Origin`: a page of another site in a browser on this machine.
   * - `Host`: the same page, through a name that resolves to 127.0.0.1.
   * - One `Host` header only, and no host in the request line: of two hosts, a proxy may have checked the other one.
   * - No forwarding header: a stranger behind a proxy on this machine.
   * - Not HTTP/1.0: a proxy with a minimal configuration may send this server's own host and no forwarding header.
   *   nginx uses HTTP/1.0 to its targets by default, and no client of today uses it.
   *
   * An HTTP/1.1 proxy that adds no header looks like a program on this machine. So the function returns true only in
   * trial mode, when there is nothing to protect.
   */
  function isLocal({ socket, headers, raw }: FastifyRequest): boolean {
    const peer = plainAddress(socket.remoteAddress ?? "");
    if (!isOpen() || !isLoopbackAddress(peer) || raw.httpVersion === "1.0") return false;
    const { host = "", origin } = headers;
    if (raw.headersDistinct.host?.length !== 1 || !raw.url?.startsWith("/")) return false;
    if (!LOCAL_HOST.test(host) || Object.keys(headers).some((header) => FORWARDING.test(header))) return false;
    if (origin === undefined || allowedOrigins.includes(origin)) return true;
    return normalOrigin(origin) === normalOrigin(`http://${host}`);
  }

  function of(request: FastifyRequest, advice = NEEDS_TOKEN): Caller {
    const { authorization } = request.headers;
    // With two headers, a proxy that authorizes requests may have checked the other one.
    if ((request.raw.headersDistinct.authorization?.length ?? 0) > 1)
      throw unauthorized("The Authorization header must be there once");
    if (authorization === undefined) throw unauthorized(advice);
    const bearer = bearerOf(authorization);
    if (bearer === undefined) throw unauthorized("The Authorization header must be: Bearer, a blank, the token");
    if (operatorKey !== undefined && sameSecret(bearer, operatorKey)) return operator;
    const { userId, sessionId, permissions } = tokens.verify(bearer);
    return { kind: "user", name: `user:${userId}`, userId, sessionId, grants: grantsOf(permissions) };
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

/** @throws {RequestError} 403 naming the missing permission */
export function demand(granted: boolean, permission: string): void {
  if (!granted) throw forbidden(`This needs the permission ${permission}`);
}

/** The caller of a route for admins. @throws {RequestError} 401 or 403 */
export function adminOf(callers: Pick<Callers, "of">, request: FastifyRequest): Caller {
  const caller = callers.of(request);
  demand(caller.grants.admin, "admin");
  return caller;
}

type AddressOf = (request: IncomingMessage) => string;

/** The name of a calling admin, and a function that audits what this admin did. @throws {RequestError} 401 or 403 */
export function auditedAdmin(
  { callers, audit, addressOf }: { callers: Pick<Callers, "of">; audit: Pick<Audit, "record">; addressOf: AddressOf },
  request: FastifyRequest,
) {
  const { name: who } = adminOf(callers, request);
  const address = addressOf(request.raw);
  const record = (action: AuditAction, target: string, outcome = "done") =>
    audit.record({ action, who, address, target, outcome });
  return { who, record };
}

/** The token of an `Authorization` header. */
export function bearerOf(authorization: string): string | undefined {
  return /^Bearer +([^\s]+) *$/i.exec(authorization)?.[1];
}

/** Headers that proxies add: those of RFC 7239 and RFC 9110, and others that some proxies add instead. */
const FORWARDING = /^(?:forwarded|via|x-real-ip|x-forwarded-.+|x-original-.+|.+-client-ip|.+-connecting-ip)$/;
