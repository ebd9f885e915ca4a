// Checks messages of the server without zod, which would be three quarters of the client library. The schemas in
// socket-messages.ts and this table accept the same messages: test/contract/server-message.test.ts compares them.

import { MAX_REQUEST_ID_LENGTH, UNRECOVERABLE_REASONS } from "./codes.ts";
import { COMMAND_STATUSES } from "./command-status.ts";
import type { ServerMessage } from "./socket-messages.ts";

/** Returns what a valid value is, for an invalid value; undefined for a valid one. */
type Check = (value: unknown) => string | undefined;

/** The compiler reports a message type or a field without a check. */
type Checks = {
  [Type in ServerMessage["type"]]: {
    [Field in Exclude<keyof Extract<ServerMessage, { type: Type }>, "type">]-?: Check;
  };
};

const text: Check = (value) => (typeof value === "string" ? undefined : "text");
const flag: Check = (value) => (typeof value === "boolean" ? undefined : "true or false");
const number: Check = (value) => (Number.isFinite(value) ? undefined : "a number");
const whole: Check = (value) => (Number.isSafeInteger(value) ? undefined : "a whole number");
const anything: Check = () => undefined;
/** JSON has no `undefined`: the member is missing. */
const present: Check = (value) => (value === undefined ? "present" : undefined);
const texts: Check = (value) =>
  Array.isArray(value) && value.every((one) => typeof one === "string") ? undefined : "a list of texts";
const requestId: Check = (value) =>
  Number.isFinite(value) || (typeof value === "string" && value.length <= MAX_REQUEST_ID_LENGTH)
    ? undefined
    : `a number, or text of at most ${MAX_REQUEST_ID_LENGTH} characters`;
const gap: Check = (value) =>
  isObject(value) && Number.isSafeInteger(value.after) && Number.isSafeInteger(value.before)
    ? undefined
    : "an object with the whole numbers after and before";

function oneOf(values: readonly string[]): Check {
  return (value) => (typeof value === "string" && values.includes(value) ? undefined : `one of ${values.join(", ")}`);
}

function optional(check: Check): Check {
  return (value) => (value === undefined ? undefined : check(value));
}

const id = optional(requestId);
const error = optional(text);
const code = optional(whole);

const CHECKS: Checks = {
  auth_success: {
    connection_id: text,
    user_id: text,
    permissions: texts,
    expires_in: optional(number),
    ping_interval: number,
    id,
  },
  auth_error: { error: text, code: whole, id },
  subscription_result: {
    channel: text,
    success: flag,
    epoch: optional(text),
    position: optional(whole),
    recovered: optional(flag),
    reason: optional(oneOf(UNRECOVERABLE_REASONS)),
    gap: optional(gap),
    error,
    code,
    id,
  },
  unsubscription_result: { channel: text, success: flag, error, code, id },
  dashboard_event: {
    event: text,
    data: present,
    timestamp: text,
    channel: text,
    channels: optional(texts),
    position: whole,
    id: optional(text),
    camera: optional(text),
    topic: optional(text),
    historical: optional(flag),
    seq: optional(whole),
    snapshot: optional(flag),
  },
  caught_up: { channel: text, position: whole },
  command_result: {
    id,
    command_id: optional(text),
    camera: optional(text),
    status: oneOf(COMMAND_STATUSES),
    result: anything,
    error,
    code,
  },
  token_expiring: { expires_in: number },
  ping: { position: optional(whole) },
  pong: { id },
  lagging: { position: whole },
  error: { error: text, code: whole, id },
};

const CHECKS_OF_TYPE: ReadonlyMap<unknown, readonly [field: string, check: Check][]> = new Map(
  Object.entries(CHECKS).map(([type, checks]) => [type, Object.entries(checks)]),
);

/** Why a parsed frame is not a message of the server; undefined for a message. */
export function serverMessageProblem(value: unknown): string | undefined {
  if (!isObject(value)) return "a message must be an object";
  const checks = CHECKS_OF_TYPE.get(value.type);
  if (checks === undefined) return "type must be a known message type";
  for (const [field, check] of checks) {
    const wanted = check(value[field]);
    if (wanted !== undefined) return `${field} must be ${wanted}`;
  }
  return undefined;
}

/** Unlike the schema, leaves members of a newer server in the message. */
export function isServerMessage(value: unknown): value is ServerMessage {
  return serverMessageProblem(value) === undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
