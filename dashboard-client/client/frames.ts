import { type ServerMessage, serverMessageSchema } from "../../contract/socket-messages.ts";

/** A message of the server, or what is wrong with the frame. Never throws. */
export type ReadFrame = { ok: true; message: ServerMessage } | { ok: false; problem: string };

/** How much of a frame that is not understood is shown, characters. */
const MAX_EXCERPT = 120;

/**
 * Reads one text frame. A message of a type that is not known is a problem like any other: reported, not fatal, so
 * that a newer server may say more than this client understands.
 */
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
  return { ok: false, problem: `a frame is not of the protocol${where}: ${issue?.message ?? ""}: ${excerpt(data)}` };
}

function excerpt(text: string): string {
  return text.length > MAX_EXCERPT ? `${text.slice(0, MAX_EXCERPT)}…` : text;
}
