/** The methods of a WebSocket that the client uses. Browsers and the package `ws` (for old versions of Node) have them. */
export interface Socket {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** Only `ws`: ends a connection without waiting for the server's close frame. */
  terminate?(): void;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
  addEventListener(type: "error", listener: () => void): void;
}

export type SocketConstructor = new (url: string) => Socket;
