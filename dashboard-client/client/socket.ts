/**
 * What the client needs of a WebSocket: the browser's own, or `WebSocket` of the `ws` package under Node versions
 * that have none.
 */
export interface Socket {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** `ws` only: gives up a connection without waiting for the other side to say goodbye. */
  terminate?(): void;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  addEventListener(type: "error", listener: () => void): void;
}

export type SocketConstructor = new (url: string) => Socket;
