import type { Duplex } from "node:stream";
import { CloseCode } from "../../contract/codes.ts";
import { authMessageSchema, MAX_AUTH_FRAME_BYTES } from "../../contract/socket-messages.ts";
import { byteLengthOf, fieldOf, type MessageBytes, type RequestId, readJson } from "./requests.ts";

/** What the first frame came to: a token to verify, or what the client is told before the connection is closed. */
export type FirstFrame =
  | { ok: true; token: string; id: RequestId }
  | { ok: false; error: string; code: typeof CloseCode.protocolError | typeof CloseCode.authInvalid };

/** Pieces that one message, and the chunks that one frame, may come in: each costs more memory than its bytes. */
export const MAX_FRAGMENTS = 1024;

export const AUTH_TIMEOUT = "Authentication timeout";
export const INVALID_TOKEN = "Invalid or expired authentication token";

/** Reads the first frame. The texts are those that clients of the predecessor know. */
export function readFirstFrame(bytes: MessageBytes, isBinary: boolean): FirstFrame {
  const wrong = (error: string) => ({ ok: false, error, code: CloseCode.protocolError }) as const;
  if (byteLengthOf(bytes) > MAX_AUTH_FRAME_BYTES)
    return wrong(`First message must have at most ${MAX_AUTH_FRAME_BYTES} bytes`);
  if (isBinary) return wrong("First message must be text containing authentication");
  const json = readJson(bytes);
  if (!json.ok) return wrong("Invalid JSON in authentication message");
  if (fieldOf(json.value, "type") !== "auth") return wrong("First message must be text containing authentication");
  const message = authMessageSchema.safeParse(json.value);
  if (message.success) return { ok: true, token: message.data.token, id: message.data.id };
  if (message.error.issues.some(({ path }) => path[0] === "token"))
    return { ok: false, error: "Missing authentication token", code: CloseCode.authInvalid };
  return wrong("id must be a number or at most 64 characters");
}

/** What a peer may send before it has shown a token, frames and their pieces together, bytes. */
export const MAX_EARLY_BYTES = 2 * MAX_AUTH_FRAME_BYTES;

/**
 * Calls back once, when the peer has sent more than {@link MAX_EARLY_BYTES}: before a message is complete nobody else
 * gets to see it. To be called when `ws` has the socket already, so that a token in the same chunk is seen first.
 * @param isKnown whether the peer has shown its token; then nobody looks any more
 */
export function watchEarlyBytes(socket: Duplex, isKnown: () => boolean, onTooMany: () => void): void {
  let seen = 0;
  const watch = (chunk: Buffer) => {
    seen += chunk.length;
    if (!isKnown() && seen <= MAX_EARLY_BYTES) return;
    socket.off("data", watch);
    // `ws` says by itself, and a moment later, what is wrong with a frame beyond its limit.
    setImmediate(() => {
      if (!isKnown()) onTooMany();
    });
  };
  socket.on("data", watch);
}

/** Why an upgrade is refused, as HTTP says it. */
export interface Refusal {
  status: 403 | 429 | 503;
  message: string;
}

/** A page cannot read this answer: it asks `GET /allowed-origin` (RFC 6455, section 10.2, wants the refusal by HTTP). */
export const FOREIGN_ORIGIN: Refusal = {
  status: 403,
  message: "pages of this origin may not connect: see ALLOWED_ORIGINS",
};

/** Answers the upgrade with an HTTP error and closes the socket. */
export function refuseUpgrade(socket: Duplex, { status, message }: Refusal): void {
  const reason = { 403: "Forbidden", 429: "Too Many Requests", 503: "Service Unavailable" }[status];
  const code = { 403: "permission_denied", 429: "rate_limited", 503: "unavailable" }[status];
  const body = JSON.stringify({ error: { code, message } });
  socket.on("error", () => socket.destroy());
  socket.once("finish", () => socket.destroy());
  const headers = [
    `HTTP/1.1 ${status} ${reason}`,
    "Connection: close",
    "Content-Type: application/json; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(status === 403 ? [] : ["Retry-After: 5"]),
  ];
  socket.end(`${headers.join("\r\n")}\r\n\r\n${body}`);
}
