import type { ReplyCode } from "../../contract/codes.ts";

/** This environment has no `WebSocket`, and none was passed. Under Node 20 pass `WebSocket` of the package `ws`. */
export class NoWebSocketError extends Error {
  override name = "NoWebSocketError";
  constructor() {
    super("No WebSocket in this environment: pass one as the option WebSocket, such as that of the package ws");
  }
}

/** Thrown by `getToken` if another call would be refused as well. The client then stops instead of retrying. */
export class TokenRefusedError extends Error {
  override name = "TokenRefusedError";
}

/** The client was closed with `close()`. */
export class ClientClosedError extends Error {
  override name = "ClientClosedError";
  constructor() {
    super("The client is closed: create a new one");
  }
}

/**
 * A command was issued without a connection. It is not queued: a picture taken minutes after the button was pressed is
 * not the picture that was asked for.
 */
export class NotConnectedError extends Error {
  override name = "NotConnectedError";
  constructor() {
    super("Not connected, so the command was not sent: try again once the client is connected");
  }
}

/** A limit of this client was exceeded. The message names the option that sets the limit. */
export class ClientLimitError extends Error {
  override name = "ClientLimitError";
}

/**
 * The result of a command did not arrive: the connection was lost, or the time ran out. The camera may or may not have
 * carried out the command.
 */
export class OutcomeUnknownError extends Error {
  override name = "OutcomeUnknownError";
}

/** The server answered a request with an error. */
export class RequestRefusedError extends Error {
  override name = "RequestRefusedError";
  /** A {@link ReplyCode}, or a code of a newer server. */
  readonly code: ReplyCode | number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** The channel has a subscription already: use that subscription. */
export class AlreadySubscribedError extends Error {
  override name = "AlreadySubscribedError";
}
