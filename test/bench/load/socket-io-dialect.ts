import type { Conversation, ConversationOptions, Dialect, Turn } from "./dialect.ts";

/**
 * Socket.IO protocol 5 over Engine.IO 4, WebSocket only, which is the cheapest transport for a client. The first digit
 * is the Engine.IO packet (0 open, 2 ping, 3 pong, 4 message), the second the Socket.IO packet (0 connect, 2 event,
 * 3 ack, 4 connect error).
 */
export const socketIoDialect: Dialect = { path: "/socket.io/?EIO=4&transport=websocket", converse };

function converse({ token, since }: ConversationOptions): Conversation {
  let session = "";

  function heard(text: string): Turn {
    if (text.startsWith("0{")) {
      const place = since === undefined ? {} : { pid: since.stream, offset: since.position };
      return { reply: `40${JSON.stringify({ token, ...place })}` };
    }
    if (text === "2") return { reply: "3" };
    if (text.startsWith("40")) {
      const accepted: { sid: string; pid?: string } = JSON.parse(text.slice(2));
      session = accepted.pid ?? accepted.sid;
      if (since === undefined) return { reply: '420["subscribe","dashboard"]' };
      // If the server cannot recover the session, it starts a session with a new name.
      if (session !== since.stream) return { problem: `the server cannot resume after ${since.position}` };
      return { ready: since };
    }
    if (text.startsWith("430")) return { ready: { stream: session, position: "" } };
    if (text.startsWith("44")) return { problem: `the server says: ${text.slice(2)}` };
    return {};
  }

  return {
    greeting: () => undefined,
    heard,
    placeAfter: (text) => ({ stream: session, position: /,"([^"]+)"\]$/.exec(text)?.[1] ?? "" }),
  };
}
