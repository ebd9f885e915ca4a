/** Codes of replies on an open WebSocket: the request failed, the connection lives on. */
export const ReplyCode = {
  internal: 100,
  unknownChannel: 102,
  permissionDenied: 103,
  alreadySubscribed: 105,
  limit: 106,
  badRequest: 107,
  tokenExpired: 109,
  rateLimited: 111,
  unrecoverable: 112,
  deviceOffline: 120,
  commandTimeout: 121,
  commandRejected: 122,
  commandExpired: 123,
  storeUnavailable: 130,
} as const;

export type ReplyCode = (typeof ReplyCode)[keyof typeof ReplyCode];

/** WebSocket close codes. The hundred tells the client what to do: see {@link afterClose}. */
export const CloseCode = {
  /** No `auth` frame came within `AUTH_TIMEOUT_MS`. */
  authTimeout: 4001,
  /** The token is missing, wrong, expired at connect, or signed by nobody known. */
  authInvalid: 4002,
  /** The client broke the protocol in a way that a retry would only repeat. */
  protocolError: 4003,
  /** The user has `MAX_CONNECTIONS_PER_USER` connections already. */
  connectionLimit: 4004,
  /** The token, or all of the user's tokens, were revoked. */
  revoked: 4005,
  /** The token expired on the live socket and was not renewed within the grace. */
  tokenExpired: 4100,
  /** The server is stopping; another node, or this one after its restart, will serve. */
  shutdown: 4200,
  /** The server failed; the same request may succeed later. */
  internal: 4201,
  /** The user connected `MAX_USER_CONNECTS_PER_MINUTE` times within a minute. */
  connectRate: 4207,
  /** The client did not read for too long. */
  slow: 4208,
  /** Two pings went unanswered. */
  noPong: 4209,
} as const;

export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/**
 * What a client does after a close: 4000–4099 `stop`, 4100–4199 `renew` (fetch a new token, then retry),
 * everything else, a lost link (1006) included, `retry` with jittered back-off.
 */
export function afterClose(code: number): "stop" | "renew" | "retry" {
  if (code >= 4000 && code <= 4099) return "stop";
  if (code >= 4100 && code <= 4199) return "renew";
  return "retry";
}
