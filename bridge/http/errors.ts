import { StoreUnavailableError } from "../../platform/errors.ts";
import { AccountExistsError, TooManyAccountsError, UnknownAccountError } from "../auth/accounts.ts";
import { DeviceError, UnknownDeviceError } from "../auth/devices.ts";
import { ProviderUnavailableError } from "../auth/identity-provider.ts";
import { TooManyFailuresError } from "../auth/login-guard.ts";
import { TooManyHashesError } from "../auth/passwords.ts";
import { TooManyRevocationsError } from "../auth/revocations.ts";
import { RefreshRefusedError } from "../auth/sessions.ts";
import { InvalidTokenError } from "../auth/tokens.ts";

/** What an HTTP answer says of an error, in `{"error": {…}}`. `code` is for programs, `message` for people. */
export interface ErrorBody {
  error: { code: string; message: string; details?: unknown };
}

/** A request that is refused for a reason its sender can understand, with the HTTP status that says so. */
export class RequestError extends Error {
  override name = "RequestError";
  readonly statusCode: number;
  readonly code: string;
  readonly details: unknown;

  constructor(statusCode: number, code: string, message: string, details?: unknown) {
    super(message);
    this.statusCode = statusCode;
    this.code = code;
    this.details = details;
  }
}

/** Who asks has not shown who he is (401), or may not do what he asks for (403). */
export class AccessError extends RequestError {
  override name = "AccessError";
}

export function badRequest(message: string, details?: unknown): RequestError {
  return new RequestError(400, "bad_request", message, details);
}

export function unauthorized(message: string): AccessError {
  return new AccessError(401, "unauthorized", message);
}

export function forbidden(message: string): AccessError {
  return new AccessError(403, "permission_denied", message);
}

export function notFound(message: string): RequestError {
  return new RequestError(404, "not_found", message);
}

/** The codes of refusals that Fastify and its plugins make, by status. */
const CODES: ReadonlyMap<number, string> = new Map([
  [400, "bad_request"],
  [401, "unauthorized"],
  [403, "permission_denied"],
  [404, "not_found"],
  [405, "method_not_allowed"],
  [408, "request_timeout"],
  [413, "payload_too_large"],
  [415, "unsupported_media_type"],
  [426, "upgrade_required"],
  [429, "rate_limited"],
  [503, "unavailable"],
]);

/** Failures whose message says it all. */
const NAMED = [
  [AccountExistsError, 409, "user_exists"],
  [UnknownAccountError, 404, "not_found"],
  [TooManyAccountsError, 409, "limit"],
  [TooManyRevocationsError, 409, "limit"],
  [UnknownDeviceError, 404, "not_found"],
  [DeviceError, 409, "conflict"],
  [RefreshRefusedError, 401, "unauthorized"],
] as const;

/** The one place where errors become HTTP. What is not expected is 500 and says nothing of the inside. */
export function toHttp(error: unknown): { statusCode: number; body: ErrorBody; retryAfterSeconds?: number } {
  if (error instanceof RequestError) {
    const { statusCode, code, message, details } = error;
    return answer(statusCode, code, message, details);
  }
  if (error instanceof ProviderUnavailableError)
    return answer(503, "provider_unavailable", "the identity provider does not answer: try again later");
  if (error instanceof InvalidTokenError) return answer(401, "unauthorized", error.message);
  if (error instanceof StoreUnavailableError) {
    return answer(503, "store_unavailable", "the event store takes no writes now: nothing was kept, try again later");
  }
  if (error instanceof TooManyFailuresError) {
    const { retryAfterSeconds, message } = error;
    return { ...answer(429, "too_many_failures", message), retryAfterSeconds };
  }
  if (error instanceof TooManyHashesError)
    return { ...answer(429, "rate_limited", error.message), retryAfterSeconds: 1 };
  for (const [known, status, code] of NAMED) {
    if (error instanceof known) return answer(status, code, error.message);
  }
  const statusCode = statusOf(error);
  if (statusCode >= 400 && statusCode < 500 && error instanceof Error) {
    return answer(statusCode, CODES.get(statusCode) ?? "bad_request", error.message);
  }
  return answer(500, "internal", "the server failed; its log says why");
}

function answer(statusCode: number, code: string, message: string, details?: unknown) {
  return { statusCode, body: { error: { code, message, ...(details === undefined ? {} : { details }) } } };
}

function statusOf(error: unknown): number {
  return typeof error === "object" && error !== null && "statusCode" in error && typeof error.statusCode === "number"
    ? error.statusCode
    : 500;
}
