/** CONNACK return codes of a refused client [MQTT-3.2.2.3]. */
export const ConnackCode = {
  identifierRejected: 2,
  serverUnavailable: 3,
  badCredentials: 4,
  notAuthorized: 5,
} as const;
export type ConnackCode = (typeof ConnackCode)[keyof typeof ConnackCode];

/** Answers a CONNECT with a refusing CONNACK. The message is for the operator's log. */
export class RefusedConnectionError extends Error {
  override name = "RefusedConnectionError";
  readonly returnCode: ConnackCode;
  /** The kind of limit that is reached, which MQTT 5 clients learn. */
  readonly limit: "quota" | "rate" | undefined;

  constructor(returnCode: ConnackCode, message: string, limit?: "quota" | "rate") {
    super(message);
    this.returnCode = returnCode;
    this.limit = limit;
  }
}

export function notAuthorized(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.notAuthorized, why);
}

export function badCredentials(why: string): RefusedConnectionError {
  return new RefusedConnectionError(ConnackCode.badCredentials, why);
}

/** The token or password cannot be checked at the moment. The client should retry. */
export class TokenUndecidedError extends Error {
  override name = "TokenUndecidedError";
}

/** A publication could not be made durable. The broker closes the connection, so the client resends. */
export class NotAcceptedError extends Error {
  override name = "NotAcceptedError";
}
