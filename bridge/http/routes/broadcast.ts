import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { broadcastProblem } from "../../../contract/broadcast-channels.ts";
import { DASHBOARD } from "../../../contract/channels.ts";
import { eventNameSchema } from "../../../contract/ids.ts";
import { memberText } from "../../../contract/json-text.ts";
import { answerNodes, askNodes } from "../../cluster/ask.ts";
import { demand } from "../callers.ts";
import { RequestError } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { readBody, textOfBody } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const channelSchema = z.string().max(128).default(DASHBOARD);
/** `type` and `timestamp`, which the predecessor had, are ignored: a broadcast is an event, and its time is now. */
const messageSchema = z.object({ event: eventNameSchema, data: z.unknown().optional() });
const wrappedSchema = z.object({ channel: channelSchema, message: messageSchema });
const bareSchema = messageSchema.extend({ channel: channelSchema });
const BROADCAST: RouteDescription = {
  ...{ group: "Broadcasts", summary: "Publishes an event to a channel" },
  ...{ permissions: ["broadcast:write"], openInTrial: true, body: z.union([wrappedSchema, bareSchema]) },
  responses: {
    200: {
      is: "The event is durable",
      json: z.object({
        sent_to: z.number().describe("Subscriptions of the channel at all nodes that answered in time"),
        channel: z.string(),
      }),
    },
  },
  errors: ["404 unknown_channel"],
};

const SUBSCRIBERS = "subscribers";
/** How long the response waits for the number of subscribers at the other nodes, milliseconds. */
const COUNT_TIMEOUT_MS = 250;

/** `POST /broadcast`: publishes an event. When it is durable, responds with the number of subscribers at all nodes. */
export function broadcastRoutes(server: FastifyInstance, services: Services): void {
  const { callers, channels, cluster, publish, sockets, stats, http, audit, addressOf, journal } = services;
  const { devices } = services.authority;
  const end = answerNodes(cluster, SUBSCRIBERS, (channel) => sockets.subscribers(String(channel)));
  server.addHook("onClose", async () => end());

  /** The number of subscribers at this node and at all nodes that answer in time. */
  async function subscribers(channel: string): Promise<number> {
    const answers = await askNodes(cluster, SUBSCRIBERS, channel, COUNT_TIMEOUT_MS).catch(() => undefined);
    let count = sockets.subscribers(channel);
    for (const answer of answers?.given.values() ?? []) if (typeof answer === "number") count += answer;
    return count;
  }

  server.post("/broadcast", described(BROADCAST, perMinute(http.maxBroadcastsPerMinute)), async (request) => {
    const caller = callers.orLocal(request);
    demand(caller.grants.canBroadcast, "broadcast:write");
    const { channel, event, data, dataText } = readMessage(request.body);
    const problem = broadcastProblem(channel, {
      custom: channels,
      isRegistered: (camera) => devices.get(camera)?.kind === "camera",
      hasChannel: (name) => journal.hasChannel(name),
    });
    if (problem !== undefined) throw new RequestError(404, "unknown_channel", problem);
    const address = addressOf(request.raw);
    const topic = { kind: "channel-event", channel, event } as const;
    await publish({ topic, event, data: data ?? {}, dataText, sender: caller.name });
    stats.add("broadcasts");
    audit.record({ action: "broadcast", who: caller.name, address, target: `${channel} ${event}`, outcome: "done" });
    return { sent_to: await subscribers(channel), channel };
  });
}

/** `dataText` is the JSON text of `data` as it was sent, to pass on numbers that a double cannot hold. */
function readMessage(body: unknown): z.infer<typeof bareSchema> & { dataText: string | undefined } {
  const isBare = typeof body === "object" && body !== null && !("message" in body);
  const text = textOfBody(body) ?? "";
  if (isBare) return { ...readBody(bareSchema, body), dataText: memberText(text, "data") };
  const { channel, message } = readBody(wrappedSchema, body);
  return { channel, ...message, dataText: memberText(memberText(text, "message") ?? "", "data") };
}
