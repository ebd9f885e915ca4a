/** CONNACK return codes of MQTT 3.1.1 that a refusal may carry [MQTT-3.2.2.3]. */
export const ConnackCode = {
  identifierRejected: 2,
  serverUnavailable: 3,
  badCredentials: 4,
  notAuthorized: 5,
} as const;
export type ConnackCode = (typeof ConnackCode)[keyof typeof ConnackCode];

/** A CONNECT that is answered with a CONNACK of refusal. The message is for the operator's log; the client gets the code. */
export class RefusedConnectionError extends Error {
  override name = "RefusedConnectionError";
  readonly returnCode: ConnackCode;

  constructor(returnCode: ConnackCode, message: string) {
    super(message);
    this.returnCode = returnCode;
  }
}

/** Whether a token is good cannot be found out now: its bearer is to come back with it. */
export class TokenUndecidedError extends Error {
  override name = "TokenUndecidedError";
}

/** A publication that could not be made durable: it is not acknowledged, and the connection ends so that it is sent again. */
export class NotAcceptedError extends Error {
  override name = "NotAcceptedError";
}

/** The peer sent what no client needs to send: a packet beyond its limit, or something else than a CONNECT at first. */
export class PacketRefusedError extends Error {
  override name = "PacketRefusedError";
}

/** The peer did not get as far as CONNACK in time. */
export class ConnectTimeoutError extends Error {
  override name = "ConnectTimeoutError";
}

/** The client takes messages more slowly than they come; QoS 1 and 2 may not be skipped, so its connection ends. */
export class SlowClientError extends Error {
  override name = "SlowClientError";
}

/** The peer of a client without a keep-alive does not answer any more. */
export class SilentLinkError extends Error {
  override name = "SilentLinkError";
}

/** A listener could not be opened; the message names the variable, the port and what to do. */
export class ListenError extends Error {
  override name = "ListenError";
  readonly variable: string;
  readonly port: number;
  readonly code: string | undefined;

  constructor(variable: string, port: number, message: string, cause: Error & { code?: string }) {
    super(message, { cause });
    this.variable = variable;
    this.port = port;
    this.code = cause.code;
  }
}

/** The store of sessions and retained messages could not be opened; the message says what to do. */
export class StorageError extends Error {
  override name = "StorageError";
}

/** The store does not take anything now. */
export class StorageUnavailableError extends Error {
  override name = "StorageUnavailableError";
}

/** The errors that are the client's doing, or are logged with their reason where they are made. */
export function isExpected(error: unknown): boolean {
  return error instanceof RefusedConnectionError || error instanceof NotAcceptedError;
}
