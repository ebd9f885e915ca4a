/** CONNACK return codes of MQTT 3.1.1 with which the broker refuses a client [MQTT-3.2.2.3]. */
export const ConnackCode = {
  identifierRejected: 2,
  serverUnavailable: 3,
  badCredentials: 4,
  notAuthorized: 5,
} as const;
export type ConnackCode = (typeof ConnackCode)[keyof typeof ConnackCode];

/**
 * A CONNECT that is answered with a refusing CONNACK. The message goes to the operator's log; the client gets the code.
 */
export class RefusedConnectionError extends Error {
  override name = "RefusedConnectionError";
  readonly returnCode: ConnackCode;

  constructor(returnCode: ConnackCode, message: string) {
    super(message);
    this.returnCode = returnCode;
  }
}

export function notAuthorized(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.notAuthorized, why);
}

export function badCredentials(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.badCredentials, why);
}

/** The token cannot be checked at the moment. The client should retry with the same token. */
export class TokenUndecidedError extends Error {
  override name = "TokenUndecidedError";
}

/**
 * A publication could not be made durable. The broker closes the connection without acknowledging, so the client
 * resends.
 */
export class NotAcceptedError extends Error {
  override name = "NotAcceptedError";
}
