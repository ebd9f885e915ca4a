import { isServerMessage, serverMessageProblem } from "../../contract/server-message.ts";
import type { ServerMessage } from "../../contract/socket-messages.ts";

type ReadFrame = { ok: true; message: ServerMessage } | { ok: false; problem: string };

/** The longest excerpt of an invalid frame in a problem, characters. */
const MAX_EXCERPT = 120;

/** Reads a frame. Never throws: an invalid frame, and a message type of a newer server, are returned as a problem. */
export function readFrame(data: unknown): ReadFrame {
  if (typeof data !== "string") return { ok: false, problem: "a frame is not text" };
  let json: unknown;
  try {
    json = JSON.parse(data);
  } catch {
    return { ok: false, problem: `a frame is not JSON: ${excerpt(data)}` };
  }
  if (isServerMessage(json)) return { ok: true, message: json };
  return { ok: false, problem: `a frame is not valid: ${serverMessageProblem(json)}: ${excerpt(data)}` };
}

function excerpt(text: string): string {
  return text.length > MAX_EXCERPT ? `${text.slice(0, MAX_EXCERPT)}…` : text;
}
