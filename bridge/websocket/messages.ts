import type { z } from "zod";
import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import { jsonDepth } from "../../contract/json-text.ts";
import { type ClientMessage, clientMessageSchema } from "../../contract/socket-messages.ts";
import { withoutBom } from "../../platform/byte-order-mark.ts";

/** The id of a request. The reply repeats it. */
export type RequestId = ClientMessage["id"];

export type MessageBytes = Buffer | ArrayBuffer | Buffer[];

type Json = { ok: true; value: unknown; text: string } | { ok: false; problem: string };

export type Request =
  | { ok: true; message: ClientMessage; text: string }
  /** `type` and `channel`, if the message has them, determine the type of the reply. */
  | { ok: false; problem: string; id: RequestId; type: string | undefined; channel: string | undefined };

export function byteLengthOf(bytes: MessageBytes): number {
  if (!Array.isArray(bytes)) return bytes.byteLength;
  return bytes.reduce((sum, part) => sum + part.length, 0);
}

/** Never throws. Checks the depth before parsing, because deeply nested JSON overflows the parser's stack. */
export function readJson(bytes: MessageBytes): Json {
  const whole = Array.isArray(bytes) ? Buffer.concat(bytes) : Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes);
  const text = withoutBom(whole.toString());
  if (jsonDepth(text) > MAX_JSON_DEPTH)
    return { ok: false, problem: `JSON is nested deeper than ${MAX_JSON_DEPTH} levels` };
  try {
    return { ok: true, value: JSON.parse(text), text };
  } catch {
    return { ok: false, problem: "the message is not JSON" };
  }
}

/** Never throws. */
export function readRequest(bytes: MessageBytes, isBinary: boolean): Request {
  const unread = { ok: false, id: undefined, type: undefined, channel: undefined } as const;
  if (isBinary) return { ...unread, problem: "the message is binary: send JSON in a text frame" };
  const json = readJson(bytes);
  if (!json.ok) return { ...unread, problem: json.problem };
  const result = clientMessageSchema.safeParse(json.value);
  if (result.success) return { ok: true, message: result.data, text: json.text };
  const id = fieldOf(json.value, "id");
  const type = shortText(fieldOf(json.value, "type"));
  return {
    ok: false,
    id: typeof id === "number" || (typeof id === "string" && id.length <= 64) ? id : undefined,
    type,
    channel: shortText(fieldOf(json.value, "channel")),
    problem: problemOf(result.error, type),
  };
}

/** The object's own field; undefined if the value is no object or has no such field. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}

function shortText(value: unknown): string | undefined {
  return typeof value === "string" && value.length <= 128 ? value : undefined;
}

const TYPES = "auth, subscribe, unsubscribe, command, ping, pong";

function problemOf(error: z.ZodError, type: string | undefined): string {
  const [issue] = error.issues;
  if (issue === undefined) return "the message is invalid";
  const path = issue.path.join(".");
  if (path === "type") return `type ${type === undefined ? "is missing" : `"${type}" is unknown`}: use one of ${TYPES}`;
  return path === "" ? "the message must be a JSON object with a type" : `${path}: ${issue.message}`;
}
