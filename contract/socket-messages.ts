import { z } from "zod";
import { MAX_REQUEST_ID_LENGTH, UNRECOVERABLE_REASONS } from "./codes.ts";
import { commandRequestSchema, commandStatusSchema } from "./commands.ts";

/** The largest first frame, bytes. Small, because the sender is not authenticated yet. */
export const MAX_AUTH_FRAME_BYTES = 8 * 1024;
export const MAX_CLIENT_FRAME_BYTES = 64 * 1024;

/** A request id, chosen by the client. The reply contains the same id. */
const requestId = z.union([z.number(), z.string().max(MAX_REQUEST_ID_LENGTH)]).optional();

/** A position in the journal, valid only within its `epoch`. */
export const sinceSchema = z.object({ epoch: z.string().min(1).max(64), position: z.number().int().nonnegative() });
export type Since = z.infer<typeof sinceSchema>;

export const authMessageSchema = z.object({ type: z.literal("auth"), token: z.string().min(1), id: requestId });

/** Any text, so that the reply to an unknown channel has code 102 instead of the code for a malformed message. */
const channelName = z.string().max(128);

export const clientMessageSchema = z.discriminatedUnion("type", [
  authMessageSchema,
  z.object({ type: z.literal("subscribe"), channel: channelName, since: sinceSchema.optional(), id: requestId }),
  z.object({ type: z.literal("unsubscribe"), channel: channelName, id: requestId }),
  commandRequestSchema.extend({ type: z.literal("command"), id: requestId }),
  z.object({ type: z.literal("ping"), id: requestId }),
  z.object({ type: z.literal("pong"), id: requestId }),
]);
export type ClientMessage = z.infer<typeof clientMessageSchema>;
/** A message as a client writes it: fields with a default are optional. */
export type ClientMessageInput = z.input<typeof clientMessageSchema>;

/**
 * Why a resume is incomplete.
 * - `epoch_changed`: the journal was replaced, or has lost its newest events. The server sends everything above the gap
 *   that the journal still has, if it knows where the client's position is.
 * - `trimmed`: retention removed events after the client's position.
 * - `ahead`: the journal has never reached the client's position.
 * - `damaged`: the server's disk lost events. The server sends the events before and after the gap.
 */
export const unrecoverableReasonSchema = z.enum(UNRECOVERABLE_REASONS);
export type UnrecoverableReason = z.infer<typeof unrecoverableReasonSchema>;

/** Positions of missing events: above `after` and below `before`. */
export const gapSchema = z.object({ after: z.number().int(), before: z.number().int() });
export type Gap = z.infer<typeof gapSchema>;

export const dashboardEventSchema = z.object({
  type: z.literal("dashboard_event"),
  event: z.string(),
  data: z.unknown(),
  timestamp: z.string(),
  /** The subscribed channel of the event; the first of `channels`, if there are several. */
  channel: z.string(),
  /** All subscribed channels of the event, if there are several. The event is sent once. */
  channels: z.array(z.string()).optional(),
  position: z.number().int(),
  id: z.string().optional(),
  camera: z.string().optional(),
  /** The MQTT topic without the root. In a snapshot, the topic identifies the state. */
  topic: z.string().optional(),
  historical: z.boolean().optional(),
  /** The sender's sequence number. A missing number reveals a lost message. */
  seq: z.number().int().optional(),
  /** True for state at the time of subscribing. Absent for an event. */
  snapshot: z.boolean().optional(),
});
export type DashboardEvent = z.infer<typeof dashboardEventSchema>;

export const serverMessageSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("auth_success"),
    connection_id: z.string(),
    user_id: z.string(),
    permissions: z.array(z.string()),
    /** Seconds until the token expires. Absent for the secret of an integration, which does not expire. */
    expires_in: z.number().optional(),
    /** Seconds between two pings of the server. */
    ping_interval: z.number(),
    id: requestId,
  }),
  z.object({ type: z.literal("auth_error"), error: z.string(), code: z.number().int(), id: requestId }),
  z.object({
    type: z.literal("subscription_result"),
    channel: z.string(),
    success: z.boolean(),
    epoch: z.string().optional(),
    position: z.number().int().optional(),
    /** Only after a request with `since`: whether the server sends every event after that position. */
    recovered: z.boolean().optional(),
    reason: unrecoverableReasonSchema.optional(),
    gap: gapSchema.optional(),
    error: z.string().optional(),
    code: z.number().int().optional(),
    id: requestId,
  }),
  z.object({
    type: z.literal("unsubscription_result"),
    channel: z.string(),
    success: z.boolean(),
    error: z.string().optional(),
    code: z.number().int().optional(),
    id: requestId,
  }),
  dashboardEventSchema,
  z.object({ type: z.literal("caught_up"), channel: z.string(), position: z.number().int() }),
  z.object({
    type: z.literal("command_result"),
    id: requestId,
    command_id: z.string().optional(),
    camera: z.string().optional(),
    status: commandStatusSchema,
    result: z.unknown().optional(),
    error: z.string().optional(),
    code: z.number().int().optional(),
  }),
  z.object({ type: z.literal("token_expiring"), expires_in: z.number() }),
  /**
   * The heartbeat. Any frame from the client counts as an answer. The server sends a WebSocket ping at the same time,
   * which WebSocket libraries answer. `position`: on this connection, the server has sent every event of the subscribed
   * channels up to this position, so the client may resume from it. `position` is absent without a subscription, and
   * while the server sends older events.
   */
  z.object({ type: z.literal("ping"), position: z.number().int().optional() }),
  z.object({ type: z.literal("pong"), id: requestId }),
  /** The client reads too slowly. The server sends the events later, and only the newest value of each state. */
  z.object({ type: z.literal("lagging"), position: z.number().int() }),
  z.object({ type: z.literal("error"), error: z.string(), code: z.number().int(), id: requestId }),
]);
export type ServerMessage = z.infer<typeof serverMessageSchema>;
