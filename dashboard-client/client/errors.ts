import type { ReplyCode } from "../../contract/codes.ts";

/** There is no `WebSocket` here and none was given: under Node 20 pass `WebSocket` of the `ws` package. */
export class NoWebSocketError extends Error {
  override name = "NoWebSocketError";
  constructor() {
    super("No WebSocket in this environment: pass one as the option WebSocket, such as that of the package ws");
  }
}

/** Thrown by `getToken` when asking again would be refused again: the client stops instead of retrying. */
export class TokenRefusedError extends Error {
  override name = "TokenRefusedError";
}

/** The client was closed for good with `close()`. */
export class ClientClosedError extends Error {
  override name = "ClientClosedError";
  constructor() {
    super("The client was closed; create a new one");
  }
}

/**
 * A command was given while there is no connection. It was not kept for later: a picture taken minutes after the
 * button was pressed is not what was asked for.
 */
export class NotConnectedError extends Error {
  override name = "NotConnectedError";
  constructor() {
    super("Not connected: the command was not sent");
  }
}

/** More than the client's own limit; the message names the limit. */
export class ClientLimitError extends Error {
  override name = "ClientLimitError";
}

/** The connection ended, or the time did, between a command and its result: it may or may not have been carried out. */
export class OutcomeUnknownError extends Error {
  override name = "OutcomeUnknownError";
}

/** The server answered a request with an error. */
export class RequestRefusedError extends Error {
  override name = "RequestRefusedError";
  /** One of {@link ReplyCode}, or a newer server's. */
  readonly code: ReplyCode | number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** A second subscription to one channel: share the first. */
export class AlreadySubscribedError extends Error {
  override name = "AlreadySubscribedError";
}
