import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { channelExists, DASHBOARD } from "../../contract/channels.ts";
import { eventNameSchema } from "../../contract/ids.ts";
import { RequestError } from "../errors.ts";
import { demand } from "./callers.ts";
import { read } from "./request-body.ts";
import { perMinute, type Services } from "./services.ts";

const channelSchema = z.string().max(128).default(DASHBOARD);
/** `type` and `timestamp` of the predecessor are read past: what is broadcast is an event, and its time is now. */
const messageSchema = z.object({ event: eventNameSchema, data: z.unknown().optional() });
const wrappedSchema = z.object({ channel: channelSchema, message: messageSchema });
const bareSchema = messageSchema.extend({ channel: channelSchema });

/** `POST /broadcast`: an event for a channel, answered when it is durable. */
export function broadcastRoutes(server: FastifyInstance, services: Services): void {
  const { callers, channels, publish, sockets, stats, http } = services;

  server.post("/broadcast", perMinute(http.maxBroadcastsPerMinute), async (request) => {
    const caller = callers.orLocal(request);
    demand(caller.grants.canBroadcast, "broadcast:write");
    const { channel, event, data } = readMessage(request.body);
    if (!channelExists(channel, channels))
      throw new RequestError(404, "unknown_channel", `There is no channel ${JSON.stringify(channel)}`);
    await publish({
      topic: { kind: "channel-event", channel, event },
      event,
      data: data ?? {},
      sender: caller.name,
    });
    stats.add("broadcasts");
    return { sent_to: sockets.subscribers(channel), channel };
  });
}

function readMessage(body: unknown): z.infer<typeof bareSchema> {
  const isBare = typeof body === "object" && body !== null && !("message" in body);
  if (isBare) return read(bareSchema, body);
  const { channel, message } = read(wrappedSchema, body);
  return { channel, ...message };
}
