import { type ServerMessage, serverMessageSchema } from "../../contract/socket-messages.ts";

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
  const result = serverMessageSchema.safeParse(json);
  if (result.success) return { ok: true, message: result.data };
  const issue = result.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? "" : ` at ${issue.path.join(".")}`;
  return { ok: false, problem: `a frame is not valid${where}: ${issue?.message ?? ""}: ${excerpt(data)}` };
}

function excerpt(text: string): string {
  return text.length > MAX_EXCERPT ? `${text.slice(0, MAX_EXCERPT)}…` : text;
}
