import { DASHBOARD } from "../../../contract/channels.ts";
import type { ClientMessageInput, ServerMessage } from "../../../contract/socket-messages.ts";
import type { Conversation, ConversationOptions, Dialect, Place, Turn } from "./dialect.ts";

/** The protocol of this system: authentication in the first frame, subscription, resume after a position. */
export const skylapseDialect: Dialect = { path: "/ws", converse };

function converse({ token, since }: ConversationOptions): Conversation {
  let epoch = "";

  function heard(text: string): Turn {
    const message: ServerMessage = JSON.parse(text);
    switch (message.type) {
      case "auth_success":
        return { reply: say({ type: "subscribe", channel: DASHBOARD, ...sinceOf(since) }) };
      case "subscription_result":
        if (!message.success) return { problem: `the subscription was refused: ${message.error}` };
        if (since !== undefined && message.recovered !== true)
          return { problem: `the server cannot resume after ${since.position}: ${message.reason}` };
        epoch = message.epoch ?? "";
        return { ready: { stream: epoch, position: String(message.position ?? 0) } };
      case "ping":
        return { reply: say({ type: "pong" }) };
      case "lagging":
        return { lagging: true };
      case "auth_error":
      case "error":
        return { problem: `the server says: ${message.error} (${message.code})` };
      default:
        return {};
    }
  }

  return {
    greeting: () => say({ type: "auth", token }),
    heard,
    placeAfter: (text) => ({ stream: epoch, position: /"position":(\d+)/.exec(text)?.[1] ?? "" }),
  };
}

function sinceOf(since: Place | undefined): { since?: { epoch: string; position: number } } {
  return since === undefined ? {} : { since: { epoch: since.stream, position: Number(since.position) } };
}

function say(message: ClientMessageInput): string {
  return JSON.stringify(message);
}
