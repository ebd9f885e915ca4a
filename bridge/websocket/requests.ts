import type { z } from "zod";
import { MAX_JSON_DEPTH } from "../../contract/events.ts";
import { jsonDepth } from "../../contract/json-text.ts";
import { type ClientMessage, clientMessageSchema } from "../../contract/socket-messages.ts";
import { withoutBom } from "../../platform/byte-order-mark.ts";

/** A name that a client gave its request, to be echoed. */
export type RequestId = ClientMessage["id"];

export type ReadJson = { ok: true; value: unknown; text: string } | { ok: false; problem: string };

/** What `ws` hands over as a message. */
export type MessageBytes = Buffer | ArrayBuffer | Buffer[];

export function byteLengthOf(bytes: MessageBytes): number {
  if (!Array.isArray(bytes)) return bytes.byteLength;
  return bytes.reduce((sum, part) => sum + part.length, 0);
}

/** Never throws. The nesting is looked at before anything is parsed: a parser that recurses overflows the stack. */
export function readJson(bytes: MessageBytes): ReadJson {
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

export type ReadRequest =
  | { ok: true; message: ClientMessage; text: string }
  /** `type` and `channel` as far as they could be read, so that the answer is of the kind that is waited for. */
  | { ok: false; problem: string; id: RequestId; type: string | undefined; channel: string | undefined };

export function readRequest(bytes: MessageBytes, isBinary: boolean): ReadRequest {
  const nothing = { ok: false, id: undefined, type: undefined, channel: undefined } as const;
  if (isBinary) return { ...nothing, problem: "messages are text frames holding JSON, not binary" };
  const json = readJson(bytes);
  if (!json.ok) return { ...nothing, problem: json.problem };
  const result = clientMessageSchema.safeParse(json.value);
  if (result.success) return { ok: true, message: result.data, text: json.text };
  const id = fieldOf(json.value, "id");
  const type = textOf(fieldOf(json.value, "type"));
  return {
    ok: false,
    id: typeof id === "number" || (typeof id === "string" && id.length <= 64) ? id : undefined,
    type,
    channel: textOf(fieldOf(json.value, "channel")),
    problem: problemOf(result.error, type),
  };
}

export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value.length <= 128 ? value : undefined;
}

const KNOWN = "auth, subscribe, unsubscribe, command, ping, pong";

function problemOf(error: z.ZodError, type: string | undefined): string {
  const [issue] = error.issues;
  if (issue === undefined) return "the message is not understood";
  const path = issue.path.join(".");
  if (path === "type")
    return `type ${type === undefined ? "is missing" : `"${type}" is unknown`}: it is one of ${KNOWN}`;
  return path === "" ? "the message must be a JSON object with a type" : `${path}: ${issue.message}`;
}
