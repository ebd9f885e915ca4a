import type { Duplex } from "node:stream";
import { CloseCode } from "../../contract/codes.ts";
import { authMessageSchema, MAX_AUTH_FRAME_BYTES } from "../../contract/socket-messages.ts";
import { byteLengthOf, fieldOf, type MessageBytes, type RequestId, readJson } from "./messages.ts";

export type FirstFrame =
  | { ok: true; token: string; id: RequestId }
  /** The client receives `error` before its connection is closed with `code`. */
  | { ok: false; error: string; code: typeof CloseCode.protocolError | typeof CloseCode.authInvalid };

/** The most bytes that a client may send before its token is verified, frame headers included. */
const MAX_EARLY_BYTES = 2 * MAX_AUTH_FRAME_BYTES;

/** Never throws. Clients of the predecessor know these texts. */
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

/**
 * Calls back once if the client sends more than {@link MAX_EARLY_BYTES} before its token is found valid. Counts the
 * bytes of the socket, because `ws` passes on complete messages only. Call the function after `ws` has begun to read
 * the socket, so that a token is verified before the bytes of its chunk are counted.
 * @param isKnown whether the token was found valid, which ends the count
 */
export function limitEarlyBytes(socket: Duplex, isKnown: () => boolean, onTooMany: () => void): void {
  let received = 0;
  const onData = (chunk: Buffer) => {
    received += chunk.length;
    if (!isKnown() && received <= MAX_EARLY_BYTES) return;
    socket.off("data", onData);
    // Calls back later, because `ws` itself closes the connection for a too large frame, with a more precise reason.
    setImmediate(() => {
      if (!isKnown()) onTooMany();
    });
  };
  socket.on("data", onData);
}
