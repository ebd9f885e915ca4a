import type { ReplyCode } from "../../contract/codes.ts";

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

export class ClientClosedError extends Error {
  override name = "ClientClosedError";
  constructor() {
    super("The client is closed: create a new one");
  }
}

/** A command is not queued without a connection: a picture minutes later is not the picture that the user wanted. */
export class NotConnectedError extends Error {
  override name = "NotConnectedError";
  constructor() {
    super("Not connected, so the command was not sent: try again once the client is connected");
  }
}

/** The message names the option that sets the limit. */
export class ClientLimitError extends Error {
  override name = "ClientLimitError";
}

/** The outcome of a command did not arrive. The camera may have carried out the command. */
export class OutcomeUnknownError extends Error {
  override name = "OutcomeUnknownError";
}

export class RequestRefusedError extends Error {
  override name = "RequestRefusedError";
  /** A {@link ReplyCode}, or a code of a newer server. */
  readonly code: ReplyCode | number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

export class AlreadySubscribedError extends Error {
  override name = "AlreadySubscribedError";
}
