/**
 * The methods of a WebSocket that the client uses. The browser's own class has these methods. So has the `WebSocket` of
 * the package `ws`, for versions of Node without such a class.
 */
export interface Socket {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** `ws` only: ends a connection without waiting for the close frame of the other side. */
  terminate?(): void;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  addEventListener(type: "error", listener: () => void): void;
}

export type SocketConstructor = new (url: string) => Socket;
