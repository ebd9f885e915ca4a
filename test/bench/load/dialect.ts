/** Where a dashboard is in the stream, so that it can resume there. */
export interface Place {
  /** The stream: an epoch of Skylapse, a session of Socket.IO. */
  stream: string;
  /** A position of Skylapse, an offset of Socket.IO. */
  position: string;
}

/** What a dashboard does between the WebSocket upgrade and its first event; one object for each connection. */
export interface Conversation {
  /** Sent when the socket is open, if the client speaks first. */
  greeting(): string | undefined;
  /** A text that carries no numbered event. */
  heard(text: string): Turn;
  /** The place after an event, given its whole text. */
  placeAfter(text: string): Place;
}

/** What follows from a text of the server. */
export interface Turn {
  reply?: string;
  /** Authenticated and subscribed; with a place to resume at, the server has promised everything after it. */
  ready?: Place;
  problem?: string;
  /** The server says that this client reads too slowly. */
  lagging?: true;
}

export interface ConversationOptions {
  token: string;
  /** Default: begin with what comes next. */
  since: Place | undefined;
}

export interface Dialect {
  path: string;
  converse(options: ConversationOptions): Conversation;
}

export type DialectName = "skylapse" | "socket-io";
