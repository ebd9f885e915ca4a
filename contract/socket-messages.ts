import { z } from "zod";
import { commandRequestSchema, commandStatusSchema } from "./commands.ts";

/** The largest first frame, bytes: nobody has been authenticated yet. */
export const MAX_AUTH_FRAME_BYTES = 8 * 1024;
/** The largest later frame, bytes. */
export const MAX_CLIENT_FRAME_BYTES = 64 * 1024;

/** Echoed in the reply, so that a client can tell its requests apart. */
const requestId = z.union([z.number(), z.string().max(64)]).optional();

/** A place in the journal: `position` means something within its `epoch` only. */
export const sinceSchema = z.object({ epoch: z.string().min(1).max(64), position: z.number().int().nonnegative() });
export type Since = z.infer<typeof sinceSchema>;

export const authMessageSchema = z.object({ type: z.literal("auth"), token: z.string().min(1), id: requestId });
export type AuthMessage = z.infer<typeof authMessageSchema>;

/** Channel names are checked against the channels that exist, not here: a wrong one has its own reply. */
const channelName = z.string().max(128);

/** What a client may send once it is authenticated. */
export const clientMessageSchema = z.discriminatedUnion("type", [
  authMessageSchema,
  z.object({ type: z.literal("subscribe"), channel: channelName, since: sinceSchema.optional(), id: requestId }),
  z.object({ type: z.literal("unsubscribe"), channel: channelName, id: requestId }),
  commandRequestSchema.extend({ type: z.literal("command"), id: requestId }),
  z.object({ type: z.literal("ping"), id: requestId }),
  z.object({ type: z.literal("pong"), id: requestId }),
]);
export type ClientMessage = z.infer<typeof clientMessageSchema>;
/** What a client writes: fields with a default may be left out. */
export type ClientMessageInput = z.input<typeof clientMessageSchema>;

/** `damaged`: the server's disk lost events; what is before and behind the gap is sent. */
export const unrecoverableReasonSchema = z.enum(["epoch_changed", "trimmed", "ahead", "damaged"]);
export type UnrecoverableReason = z.infer<typeof unrecoverableReasonSchema>;

/** Events that a client may have missed: those after `after` and before `before`. */
export const gapSchema = z.object({ after: z.number().int(), before: z.number().int() });
export type Gap = z.infer<typeof gapSchema>;

export const dashboardEventSchema = z.object({
  type: z.literal("dashboard_event"),
  event: z.string(),
  data: z.unknown(),
  timestamp: z.string(),
  /** The subscribed channel it came by; where several match, the first of `channels`. */
  channel: z.string(),
  /** Every subscribed channel it matches, when there are several: it is sent once. */
  channels: z.array(z.string()).optional(),
  position: z.number().int(),
  id: z.string().optional(),
  camera: z.string().optional(),
  /** The MQTT topic below the root: names the state a snapshot event is of. */
  topic: z.string().optional(),
  historical: z.boolean().optional(),
  /** The number its sender gave it: a sender counts its messages, so that a hole shows what is missing. */
  seq: z.number().int().optional(),
  /** Part of the state at the moment of subscribing, not something that happens now. */
  snapshot: z.boolean().optional(),
});
export type DashboardEvent = z.infer<typeof dashboardEventSchema>;

/** What the server sends. */
export const serverMessageSchema = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("auth_success"),
    connection_id: z.string(),
    user_id: z.string(),
    permissions: z.array(z.string()),
    /** Seconds until the token expires. */
    expires_in: z.number(),
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
    /** With `since`: whether every event after it follows. */
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
   * Tells a quiet link from a dead one. A client that counts its own WebSocket pongs need not answer: the server sends a
   * WebSocket ping along, and any frame is an answer. `position`: everything of the subscribed channels up to there was
   * sent on this connection, so it may be stored as the place to resume from; left out without a subscription, and while
   * something older is still being sent.
   */
  z.object({ type: z.literal("ping"), position: z.number().int().optional() }),
  z.object({ type: z.literal("pong"), id: requestId }),
  /** The client reads too slowly; events are kept and follow when it reads again, state is coalesced to the newest. */
  z.object({ type: z.literal("lagging"), position: z.number().int() }),
  z.object({ type: z.literal("error"), error: z.string(), code: z.number().int(), id: requestId }),
]);
export type ServerMessage = z.infer<typeof serverMessageSchema>;
