import { StoreUnavailableError } from "../../platform/errors.ts";
import { AccountExistsError, TooManyAccountsError, UnknownAccountError } from "../auth/accounts.ts";
import { CameraGroupError, UnknownCameraGroupError } from "../auth/camera-groups.ts";
import { DeviceError, UnknownDeviceError } from "../auth/devices.ts";
import { IntegrationError, UnknownIntegrationError } from "../auth/integrations.ts";
import { TooManyFailuresError } from "../auth/login-guard.ts";
import { TooManyHashesError } from "../auth/passwords.ts";
import { ProviderUnavailableError } from "../auth/provider.ts";
import { TooManyRevocationsError } from "../auth/revocations.ts";
import { RefreshRefusedError } from "../auth/sessions.ts";
import { SetupCodeTakenError } from "../auth/setup-code.ts";
import { InvalidTokenError } from "../auth/tokens.ts";
import { TooManyCameraRecordsError } from "../cameras/camera-records.ts";
import { ArchiveUnavailableError } from "../journal/archive/archive.ts";

/** A refusal with its HTTP status. The message is for the sender of the request. */
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

/** The caller is not authenticated (401) or not authorized (403). */
export class AccessError extends RequestError {
  override name = "AccessError";
}

export const badRequest = (message: string, details?: unknown) =>
  new RequestError(400, "bad_request", message, details);
export const unauthorized = (message: string) => new AccessError(401, "unauthorized", message);
export const forbidden = (message: string) => new AccessError(403, "permission_denied", message);
export const notFound = (message: string) => new RequestError(404, "not_found", message);

/** Codes by status, for the errors of Fastify and its plugins. */
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
]);

const ARCHIVE_AWAY = "the archive does not answer now: no event is lost, try again later";

/** Errors whose message is the response's message. */
const NAMED = [
  [AccountExistsError, 409, "user_exists"],
  [UnknownAccountError, 404, "not_found"],
  [TooManyAccountsError, 409, "limit"],
  [TooManyRevocationsError, 409, "limit"],
  [UnknownDeviceError, 404, "not_found"],
  [DeviceError, 409, "conflict"],
  [UnknownCameraGroupError, 404, "not_found"],
  [CameraGroupError, 409, "conflict"],
  [TooManyCameraRecordsError, 409, "limit"],
  [UnknownIntegrationError, 404, "not_found"],
  [IntegrationError, 409, "conflict"],
  [SetupCodeTakenError, 409, "conflict"],
  [RefreshRefusedError, 401, "unauthorized"],
] as const;

/** Maps any error to its response. An unexpected error becomes 500, without details of the server. */
export function toHttp(error: unknown): ReturnType<typeof response> & { retryAfterSeconds?: number } {
  if (error instanceof RequestError) {
    const { statusCode, code, message, details } = error;
    return response(statusCode, code, message, details);
  }
  if (error instanceof ProviderUnavailableError)
    return response(503, "provider_unavailable", "the identity provider does not answer: try again later");
  if (error instanceof InvalidTokenError) return response(401, "unauthorized", error.message);
  if (error instanceof StoreUnavailableError)
    return response(503, "store_unavailable", "the event store takes no writes now: nothing was kept, try again later");
  if (error instanceof ArchiveUnavailableError)
    return response(503, "archive_unavailable", error.isOff ? error.message : ARCHIVE_AWAY);
  if (error instanceof TooManyFailuresError) {
    const { retryAfterSeconds, message } = error;
    return { ...response(429, "too_many_failures", message), retryAfterSeconds };
  }
  if (error instanceof TooManyHashesError)
    return { ...response(429, "rate_limited", error.message), retryAfterSeconds: 1 };
  for (const [known, status, code] of NAMED) if (error instanceof known) return response(status, code, error.message);
  const statusCode = statusOf(error);
  if (statusCode >= 400 && statusCode < 500 && error instanceof Error)
    return response(statusCode, CODES.get(statusCode) ?? "bad_request", error.message);
  return response(500, "internal", "the server failed; its log says why");
}

/** `code` is for programs, `message` for people. */
function response(statusCode: number, code: string, message: string, details?: unknown) {
  return { statusCode, body: { error: { code, message, ...(details === undefined ? {} : { details }) } } };
}

function statusOf(error: unknown): number {
  return typeof error === "object" && error !== null && "statusCode" in error && typeof error.statusCode === "number"
    ? error.statusCode
    : 500;
}
