import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { envelopeSchema } from "../../../contract/events.ts";
import { answerNodes, askNodes } from "../../cluster/ask.ts";
import { KINDS } from "../../journal/archive/archive.ts";
import { demand } from "../callers.ts";
import { type LookedUpEvent, lookUpEvent } from "../event-lookup.ts";
import {
  type AskedEvent,
  askedEventSchema,
  nodeTimesSchema,
  stageSchema,
  stagesOf,
  timesHere,
} from "../event-stages.ts";
import { perMinute } from "../protection.ts";
import { readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const QUESTION = "event times";
/** A search without the archive reads many events of the journal. */
const MAX_TRACES_PER_MINUTE = 60;

const paramsSchema = z.object({ id: envelopeSchema.shape.id });

const TRACE: RouteDescription = {
  ...{ group: "History", summary: "One event through all its stages, with times", path: paramsSchema },
  permissions: ["system:read"],
  responses: {
    200: {
      is: "The newest event with this id that the token may read",
      json: z.object({
        ...{ id: z.string(), event: z.string(), kind: z.enum(KINDS) },
        ...{ camera: z.string().optional(), topic: z.string().optional() },
        ...{ epoch: z.string(), position: z.number(), channels: z.array(z.string()) },
        stages: z.array(stageSchema),
        silent_nodes: z.array(z.string()).optional().describe("Nodes that did not answer in time"),
      }),
    },
  },
  errors: ["404 not_found", "503 store_unavailable"],
};

/** `GET /events/{id}/trace`: when an event passed each stage between its sender and its readers. */
export function eventTraceRoutes(server: FastifyInstance, services: Services): void {
  const { archive, callers, clock, cluster, http, journal } = services;
  // If the general limit of requests is switched off, this route has no limit either.
  const limit = perMinute(
    Number.isFinite(http.maxRequestsPerMinute) ? MAX_TRACES_PER_MINUTE : http.maxRequestsPerMinute,
  );
  const endAnswers = answerNodes(cluster, QUESTION, (about) => {
    const asked = askedEventSchema.safeParse(about);
    return asked.success ? timesHere(services, { ...asked.data, camera: asked.data.camera }) : null;
  });
  server.addHook("onClose", async () => endAnswers());

  server.get("/events/:id/trace", described(TRACE, limit), async (request) => {
    const { grants } = callers.of(request);
    demand(grants.admin || grants.permissions.includes("system:read"), "system:read");
    const { id } = readPath(paramsSchema, request);
    const event = await lookUpEvent(services, id, grants);
    const { epoch, position, kind, camera, channels, body } = event;
    const { times, missing } = await timesOf(event);
    const isInJournal = await isKept(event);
    const stages = stagesOf({ event, times, isInJournal, unarchived: unarchived(), now: clock.now() });
    return {
      ...{ id, event: body.event, kind, camera, topic: body.topic, epoch, position, channels, stages },
      ...(missing.length === 0 ? {} : { silent_nodes: missing }),
    };
  });

  /** The facts that each node knows about the event. Those of this node come first. */
  async function timesOf({ epoch, position, acceptedAt, channels, camera }: LookedUpEvent) {
    const asked: AskedEvent = { epoch, position, acceptedAt, channels, camera };
    const times = new Map([[cluster.nodeId, timesHere(services, asked)]]);
    const { given, missing } = await askNodes(cluster, QUESTION, {
      ...{ epoch, position, acceptedAt, channels },
      ...(camera === undefined ? {} : { camera }),
    });
    for (const [node, answer] of given) {
      const parsed = nodeTimesSchema.safeParse(answer);
      if (parsed.success) times.set(node, parsed.data);
    }
    return { times, missing };
  }

  async function isKept({ epoch, position, channels }: LookedUpEvent): Promise<boolean> {
    if (epoch !== journal.epoch) return false;
    const after = position - 1;
    const { entries } =
      channels.length === 0
        ? await journal.read({ after, maxEvents: 1 })
        : await journal.replay({ channels, after, until: position });
    return entries[0]?.position === position;
  }

  /** Why an event of the journal has no row in the archive. */
  function unarchived(): string {
    const status = archive.status();
    if (status === undefined) return "the archive is off: set ARCHIVE=on";
    return status.unavailableReason ?? "not archived yet";
  }
}
