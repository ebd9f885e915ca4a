/** Every error code of the HTTP API with its status. One code may have two statuses. */
export const ERRORS = {
  "400 bad_request": "A field is missing or wrong, or the body is not valid JSON",
  "401 unauthorized": "The token, the password or the refresh token is missing, wrong, expired or revoked",
  "403 permission_denied": "The token lacks the permission that `message` names",
  "404 not_found": "There is no such path, user, device, camera, camera group, preview, event or connection",
  "404 unknown_channel": "There is no such channel",
  "405 method_not_allowed": "The path answers only the methods of the header `Allow`",
  "408 request_timeout": "The request was not complete in time",
  "409 user_exists": "There is an account with this id",
  "409 conflict":
    "The id or the certificate name is already registered, there are too many of a kind, accounts use the camera group, somebody else has just changed it, or there is an admin already",
  "409 limit": "There are too many accounts, revocations or camera records, or notes about the alerts of a camera",
  "409 device_offline": "The camera is not connected",
  "410 socket_io": "This server does not speak Socket.IO",
  "413 payload_too_large": "The body is too large",
  "415 unsupported_media_type": "The body has a malformed `Content-Type`",
  "426 upgrade_required": "The request is not an upgrade to WebSocket",
  "429 rate_limited": "A limit of requests or commands per minute is reached",
  "429 limit": "Too many commands are waiting, or too many requests of one user read the history or thumbnails",
  "429 too_many_failures": "There were too many failed logins",
  "431 headers_too_large": "The headers are too large",
  "500 internal": "The server failed; its log says why",
  "503 store_unavailable": "The store refuses writes now: nothing was stored",
  "503 archive_unavailable": "The archive is off, or its database does not answer now",
  "503 unavailable": "`GET /ws`: the server takes no new connections now",
  "503 provider_unavailable": "The keys of the identity provider cannot be fetched now",
} as const;

/** The status and the code of an error, such as `409 user_exists`. */
export type ErrorName = keyof typeof ERRORS;
