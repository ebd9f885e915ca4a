/** A dashboard's position in the stream, to resume from. */
export interface Place {
  /** The stream: an epoch of Skylapse, or a session of Socket.IO. */
  stream: string;
  /** A position of Skylapse, or an offset of Socket.IO. */
  position: string;
}

/** What a dashboard does between the WebSocket upgrade and its first event. Each connection has its own object. */
export interface Conversation {
  /** What the client sends when the socket is open; undefined if the server sends first. */
  greeting(): string | undefined;
  /** Handles a text that carries no numbered event. */
  heard(text: string): Turn;
  /** The position after an event, given the event's whole text. */
  placeAfter(text: string): Place;
}

/** The reaction to a text of the server. */
export interface Turn {
  reply?: string;
  /** The dashboard is subscribed. The server has promised every event after the resume position, if there was one. */
  ready?: Place;
  problem?: string;
  /** The server reports that this client reads too slowly. */
  lagging?: true;
}

export interface ConversationOptions {
  token: string;
  /** The position to resume from. Default: live events only. */
  since: Place | undefined;
}

export interface Dialect {
  path: string;
  converse(options: ConversationOptions): Conversation;
}

export type DialectName = "skylapse" | "socket-io";
