export interface Place {
  /** The stream: an epoch of Skylapse, or a session of Socket.IO. */
  stream: string;
  /** A position of Skylapse, or an offset of Socket.IO. */
  position: string;
}

/** Handles one connection of a dashboard from the WebSocket upgrade to the first event. */
export interface Conversation {
  /** The client sends this text when the socket opens. Undefined if the server sends first. */
  greeting(): string | undefined;
  /** Handles a text without a numbered event. */
  heard(text: string): Turn;
  /** The position after an event. `text` is the whole text of the event. */
  placeAfter(text: string): Place;
}

export interface Turn {
  reply?: string;
  /** Set when the dashboard is subscribed. If it resumes, the server has also promised every missed event. */
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
