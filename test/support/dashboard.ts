import { once } from "node:events";
import jsonwebtoken from "jsonwebtoken";
import { WebSocket } from "ws";
import type { ClientMessageInput, ServerMessage } from "../../contract/socket-messages.ts";

export const JWT_SECRET = "a secret of the tests, known to all of them";

/** A token that is signed with {@link JWT_SECRET}, like the tokens of the backend under test. */
export function signToken(userId: string, permissions: readonly string[], expiresInSeconds = 3_600): string {
  return jsonwebtoken.sign({ permissions, jti: `${userId}-${Math.random()}` }, JWT_SECRET, {
    subject: userId,
    expiresIn: expiresInSeconds,
  });
}

type MessageOf<Type extends ServerMessage["type"]> = Extract<ServerMessage, { type: Type }>;

/** A plain WebSocket client that stores all received messages in order. */
export interface Dashboard {
  messages: ServerMessage[];
  socket: WebSocket;
  send(message: ClientMessageInput): void;
  /** Resolves to the first matching received or future message of the type. */
  next<Type extends ServerMessage["type"]>(
    type: Type,
    fits?: (message: MessageOf<Type>) => boolean,
  ): Promise<MessageOf<Type>>;
  closed: Promise<number>;
  close(): Promise<void>;
}

export async function connectDashboard(url: string): Promise<Dashboard> {
  const socket = new WebSocket(url);
  const messages: ServerMessage[] = [];
  const watchers = new Set<() => void>();
  socket.on("message", (data) => {
    messages.push(JSON.parse(String(data)));
    for (const watch of [...watchers]) watch();
  });
  const closed = once(socket, "close").then(([code]) => Number(code));
  const next: Dashboard["next"] = (type, fits = () => true) =>
    new Promise((resolve, reject) => {
      const watch = () => {
        const found = messages.find(
          (message): message is MessageOf<typeof type> =>
            message.type === type && fits(message as MessageOf<typeof type>),
        );
        if (found === undefined) return;
        watchers.delete(watch);
        resolve(found);
      };
      watchers.add(watch);
      void closed.then((code) =>
        reject(new Error(`closed with ${code} before ${type} came; last: ${JSON.stringify(messages.at(-1))}`)),
      );
      watch();
    });
  await once(socket, "open");
  return {
    messages,
    socket,
    send: (message) => socket.send(JSON.stringify(message)),
    next,
    closed,
    close: async () => {
      socket.close();
      await closed;
    },
  };
}

/** Connects, authenticates and subscribes. */
export async function openDashboard(url: string, token: string, channel = "dashboard"): Promise<Dashboard> {
  const dashboard = await connectDashboard(url);
  dashboard.send({ type: "auth", token });
  await dashboard.next("auth_success");
  dashboard.send({ type: "subscribe", channel });
  await dashboard.next("subscription_result", (result) => result.success && result.channel === channel);
  return dashboard;
}
