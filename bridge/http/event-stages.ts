import { z } from "zod";
import { timestampSchema } from "../../contract/events.ts";
import type { Entry } from "../journal/journal.ts";
import { captureTime } from "../previews/capture-time.ts";
import type { LookedUpEvent } from "./event-lookup.ts";
import type { Services } from "./services.ts";

const STAGES = ["captured", "sent", "received", "accepted", "durable", "dashboards", "archived"] as const;

export const stageSchema = z.object({
  stage: z.enum(STAGES),
  node: z.string().optional().describe("The node that noted the time"),
  at: timestampSchema.optional(),
  until: timestampSchema.optional().describe("`dashboards`: after the last write to a socket"),
  count: z.number().optional().describe("`dashboards`: the number of sockets"),
  note: z.string().optional(),
});
export type Stage = z.infer<typeof stageSchema>;

/** The facts that one node knows about an event. Times are milliseconds since 1970. Null means unknown. */
export const nodeTimesSchema = z.object({
  ...{ received: z.number().nullable(), durable: z.number().nullable() },
  archived: z.number().nullable(),
  dashboards: z.object({ count: z.number(), first: z.number().nullable(), last: z.number().nullable() }).nullable(),
});
type NodeTimes = z.infer<typeof nodeTimesSchema>;

/** The event in a question to another node. */
export const askedEventSchema = z.object({
  ...{ epoch: z.string(), position: z.number(), acceptedAt: z.number() },
  ...{ channels: z.array(z.string()), camera: z.string().optional() },
});
export type AskedEvent = Pick<Entry, "position" | "acceptedAt" | "channels" | "camera"> & { epoch: string };

type LocalServices = Pick<Services, "archive" | "clock" | "eventTimes" | "journal" | "sockets">;

/** The facts that this node knows about the event. */
export function timesHere(services: LocalServices, event: AskedEvent): NodeTimes {
  const { archive, clock, eventTimes, journal, sockets } = services;
  const { epoch, position, acceptedAt } = event;
  // The rounding of two clocks must not reverse cause and effect.
  const wall = (at: number | undefined, earliest = 0) =>
    at === undefined ? null : Math.max(earliest, clock.now() - (performance.now() - at));
  // A position has a meaning in its epoch only.
  const isHere = epoch === journal.epoch;
  const times = isHere ? eventTimes(position) : undefined;
  const live = isHere ? sockets.liveDeliveryOf(event) : undefined;
  return {
    received: wall(times?.receivedAt),
    durable: wall(times?.durableAt, acceptedAt),
    archived: wall(archive.storedAt(epoch, position), acceptedAt),
    dashboards:
      live === undefined
        ? null
        : { count: live.sockets, first: wall(live.firstAt, acceptedAt), last: wall(live.lastAt, acceptedAt) },
  };
}

export interface TraceFacts {
  event: LookedUpEvent;
  /** By node. */
  times: ReadonlyMap<string, NodeTimes>;
  /** Whether the journal still has the event. */
  isInJournal: boolean;
  /** Why the event has no row in the archive; undefined if it has one. */
  unarchived: string | undefined;
  now: number;
}

const BY_SENDER = "by the clock of the sender";
const FORGOTTEN = "not known any more: nodes keep the times of their newest events only";

/** All stages of the event, in their order. A stage without a time has a note that says why. */
export function stagesOf({ event, times, isInJournal, unarchived, now }: TraceFacts): Stage[] {
  const { body, channels, position, acceptedAt, row } = event;
  const stages: Stage[] = [];
  const capturedAt = captureTime(captureIn(body.data), now);
  if (capturedAt !== undefined) stages.push({ stage: "captured", at: timeText(capturedAt), note: BY_SENDER });
  stages.push({
    ...{ stage: "sent", at: body.timestamp },
    note: body.historical === true ? `${BY_SENDER}, from a backlog` : BY_SENDER,
  });
  stages.push(...atNodes("received", times, ({ received }) => received));
  const removed = isInJournal ? "" : ", removed from the journal by retention since";
  stages.push({ stage: "accepted", at: timeText(acceptedAt), note: `position ${position}${removed}` });
  stages.push(...atNodes("durable", times, ({ durable }) => durable));
  stages.push(...dashboardStages(channels, times));
  stages.push(archivedStage(times, row, unarchived));
  return stages;
}

function atNodes(stage: Stage["stage"], times: TraceFacts["times"], timeIn: (one: NodeTimes) => number | null) {
  const stages: Stage[] = [];
  for (const [node, one] of times) {
    const at = timeIn(one);
    if (at !== null) stages.push({ stage, node, at: timeText(at) });
  }
  return stages.length > 0 ? stages : [{ stage, note: FORGOTTEN }];
}

function dashboardStages(channels: readonly string[], times: TraceFacts["times"]): Stage[] {
  if (channels.length === 0) return [{ stage: "dashboards", count: 0, note: "no channel carries this event" }];
  return [...times].map(([node, { dashboards }]): Stage => {
    if (dashboards === null) return { stage: "dashboards", node, note: FORGOTTEN };
    const { count, first, last } = dashboards;
    if (first === null || last === null)
      return { stage: "dashboards", node, count, note: "no dashboard was live: each reads the journal when it comes" };
    return { stage: "dashboards", node, count, at: timeText(first), until: timeText(last) };
  });
}

function archivedStage(times: TraceFacts["times"], row: number | undefined, unarchived = FORGOTTEN): Stage {
  if (row === undefined) return { stage: "archived", note: unarchived };
  for (const [node, { archived }] of times)
    if (archived !== null) return { stage: "archived", node, at: timeText(archived), note: `row ${row}` };
  return { stage: "archived", note: `row ${row}; the time is ${FORGOTTEN}` };
}

function captureIn(data: unknown): string {
  const capture: unknown = typeof data === "object" && data !== null ? Reflect.get(data, "capture") : undefined;
  return typeof capture === "string" ? capture : "";
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
