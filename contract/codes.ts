/** Codes of replies on an open WebSocket: the request failed, and the connection stays open. */
export const ReplyCode = {
  internal: 100,
  unknownChannel: 102,
  permissionDenied: 103,
  alreadySubscribed: 105,
  limit: 106,
  badRequest: 107,
  tokenExpired: 109,
  rateLimited: 111,
  deviceOffline: 120,
  commandTimeout: 121,
  commandRejected: 122,
  commandExpired: 123,
  storeUnavailable: 130,
} as const;

export type ReplyCode = (typeof ReplyCode)[keyof typeof ReplyCode];

/** WebSocket close codes. The range of a code decides what the client does: see {@link afterClose}. */
export const CloseCode = {
  /** The client sent no `auth` frame within `AUTH_TIMEOUT_MS`. */
  authTimeout: 4001,
  /** The token is missing, malformed, expired, or has no valid signature. */
  authInvalid: 4002,
  /** The client violated the protocol. */
  protocolError: 4003,
  /** The user already has `MAX_CONNECTIONS_PER_USER` connections. */
  connectionLimit: 4004,
  /** The token was revoked, or all tokens of the user were revoked. */
  revoked: 4005,
  /** The token expired, and the client did not renew it within the grace period. */
  tokenExpired: 4100,
  /** The server is stopping. The client can connect to another node, or to this node after the restart. */
  shutdown: 4200,
  /** The server failed. A retry may succeed. */
  internal: 4201,
  /** The user connected `MAX_USER_CONNECTS_PER_MINUTE` times within a minute. */
  connectRate: 4207,
  /** The client read nothing for too long. */
  slow: 4208,
  /** The client left two pings unanswered. */
  noPong: 4209,
} as const;

export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/**
 * What a client does after a close. 4000–4099: `stop`. 4100–4199: `renew` (get a new token, then retry). Any other code,
 * also 1006 (lost link): `retry` with jittered back-off.
 */
export function afterClose(code: number): "stop" | "renew" | "retry" {
  if (code >= 4000 && code <= 4099) return "stop";
  if (code >= 4100 && code <= 4199) return "renew";
  return "retry";
}

/** Why a resume is incomplete: see `unrecoverableReasonSchema`. */
export const UNRECOVERABLE_REASONS = ["epoch_changed", "trimmed", "ahead", "damaged"] as const;

/** The longest request id, UTF-16 units. */
export const MAX_REQUEST_ID_LENGTH = 64;
