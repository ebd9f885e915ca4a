import { pipeline, Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { BUILT_IN_CHANNELS } from "../../../contract/channels.ts";
import { timestampSchema } from "../../../contract/events.ts";
import { eventNameSchema, idSchema } from "../../../contract/ids.ts";
import type { Grants } from "../../../contract/permissions.ts";
import {
  type ArchiveAccess,
  type ArchivedEvent,
  type ArchiveQuery,
  KINDS,
  type Kind,
  searchWordsOf,
} from "../../journal/archive/archive.ts";
import { type Caller, demand } from "../callers.ts";
import type { HistoryTurns } from "../history-turns.ts";
import { readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const MAX_PAGE_EVENTS = 1_000;
const DEFAULT_PAGE_EVENTS = 100;
/** How many events an export reads at once. */
const EXPORT_PAGE_EVENTS = 500;
const MAX_SEARCH_WORDS = 8;

const timeParameter = timestampSchema.transform((text) => Date.parse(text));

const filters = {
  camera: idSchema.optional(),
  event: eventNameSchema.optional(),
  /** Times of acceptance, both inclusive. */
  from: timeParameter.optional(),
  to: timeParameter.optional(),
  /** The event's texts have all these words. A word such as `froz*` stands for all words that begin with `froz`. */
  text: z
    .string()
    .max(200)
    .transform((text) => searchWordsOf(text))
    .refine((words) => words.length > 0 && words.length <= MAX_SEARCH_WORDS, {
      message: `must have 1 to ${MAX_SEARCH_WORDS} words of letters and digits`,
    })
    .optional(),
  /** The cursor in `next` of the previous page. */
  cursor: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER).optional(),
  /** The largest number of events of a page, 100 by default. An export has no limit by default. */
  limit: z.coerce.number().int().min(1).optional(),
  format: z.enum(["json", "ndjson", "csv"]).optional(),
};

/** PostgreSQL takes no NUL in a text. */
const commandSchema = z.string().regex(/^[^\0]{1,64}$/, "must be 1 to 64 characters, and none of them NUL");

const eventsSchema = z.strictObject({ ...filters, kind: z.enum(KINDS).optional() });
const alertsSchema = z.strictObject(filters);
const commandsSchema = z.strictObject({ ...filters, command: commandSchema.optional() });
const jobsSchema = z.strictObject({ ...filters, job: idSchema.optional() });

type Filters = z.output<typeof alertsSchema> & { kind?: Kind | undefined; subject?: string | undefined };

const archivedSchema = z.object({
  ...{ epoch: z.string(), position: z.number(), accepted_at: timestampSchema, kind: z.enum(KINDS) },
  ...{ event: z.string(), data: z.unknown().optional(), timestamp: z.string(), id: z.string().optional() },
  ...{ camera: z.string().optional(), topic: z.string().optional() },
  ...{ historical: z.boolean().optional(), seq: z.number().optional() },
});
const pageSchema = z.object({
  events: z.array(archivedSchema),
  gaps: z
    .array(
      z.object({
        ...{ epoch: z.string(), after: z.number(), before: z.number().optional(), reason: z.string() },
        noticed_at: timestampSchema,
      }),
    )
    .describe("Positions within the page that the archive lacks"),
  next: z.string().optional().describe("The path of the next page"),
});

const common: Pick<RouteDescription, "group" | "responses" | "errors"> = {
  group: "History",
  responses: {
    200: { is: "A page, newest first, or an export", json: pageSchema, types: ["application/x-ndjson", "text/csv"] },
  },
  errors: ["429 limit", "503 archive_unavailable"],
};
const channelReaders = ["dashboard:read", "alerts:read", "jobs:read", "system:read", "camera:read", "camera:{id}:read"];
const EVENTS: RouteDescription = {
  ...{ ...common, summary: "Past events", permissions: channelReaders, query: eventsSchema },
};
const ALERTS: RouteDescription = {
  ...{ ...common, summary: "Past alerts", permissions: channelReaders, query: alertsSchema },
};
const JOBS: RouteDescription = {
  ...{ ...common, summary: "Past reports of jobs", permissions: channelReaders, query: jobsSchema },
};
const COMMANDS: RouteDescription = {
  ...{ ...common, summary: "Past commands and replies", query: commandsSchema },
  permissions: ["camera:control", "camera:{id}:control"],
};

/**
 * The history of events, alerts, commands and jobs, newest first. A caller reads the events of the channels that the
 * caller may subscribe to, and the commands of the cameras that the caller may command.
 */
export function archiveRoutes(server: FastifyInstance, services: Services, turns: HistoryTurns): void {
  const { callers, archive, channels } = services;

  server.get("/events", described(EVENTS), async (request, reply) => {
    const reader = readerOf(request, accessOf);
    return await send(request, reply, reader, readQuery(eventsSchema, request));
  });

  server.get("/alerts", described(ALERTS), async (request, reply) => {
    const reader = readerOf(request, accessOf);
    return await send(request, reply, reader, { ...readQuery(alertsSchema, request), kind: "alert" });
  });

  server.get("/jobs", described(JOBS), async (request, reply) => {
    const reader = readerOf(request, accessOf);
    const { job, ...query } = readQuery(jobsSchema, request);
    return await send(request, reply, reader, { ...query, kind: "job", subject: job });
  });

  server.get("/commands", described(COMMANDS), async (request, reply) => {
    const reader = readerOf(request, commandAccessOf);
    const { command, ...query } = readQuery(commandsSchema, request);
    return await send(request, reply, reader, { ...query, kind: "command", subject: command });
  });

  function readerOf(request: FastifyRequest, accessIn: (grants: Grants) => ArchiveAccess): Reader {
    const { name, grants } = callers.of(request);
    return { name, access: accessIn(grants) };
  }

  function accessOf(grants: Grants): ArchiveAccess {
    if (grants.admin) return "all";
    const builtIn = BUILT_IN_CHANNELS.filter((channel) => grants.canReadChannel(channel));
    const custom = [...channels.keys()].filter((channel) => grants.canReadChannel(channel));
    const isReader = grants.permissions.includes("camera:read");
    const cameras = isReader ? ("all" as const) : idsIn(grants, /^camera:([^:]+):read$/).filter(grants.seesCamera);
    demand(
      builtIn.length + custom.length + cameras.length > 0,
      "dashboard:read, alerts:read, jobs:read, system:read, camera:read or camera:{id}:read",
    );
    return { builtIn, onlyCameras: grants.onlyCameras && [...grants.onlyCameras], cameras, custom };
  }

  async function send(request: FastifyRequest, reply: FastifyReply, { name, access }: Reader, given: Filters) {
    turns.enter(name, reply.raw);
    const read = (query: ArchiveQuery) => turns.query(name, reply.raw, () => archive.page(query));
    const { cursor, limit, format = formatOf(request), text, ...wanted } = given;
    const query = { ...wanted, access, words: text, before: cursor };
    if (format === "json") {
      const size = Math.min(limit ?? DEFAULT_PAGE_EVENTS, MAX_PAGE_EVENTS);
      const { events, gaps, next } = await read({ ...query, limit: size });
      reply.type("application/json; charset=utf-8");
      const more = next === undefined ? "" : `,"next":${JSON.stringify(nextPath(request, next))}`;
      return reply.send(
        `{"events":[${events.map(textOf).join(",")}],"gaps":${JSON.stringify(gaps.map(gapOf))}${more}}`,
      );
    }
    const pages = pagesOf(read, query, limit);
    // The first events are read before the response begins: after that, a failure could only cut the response off.
    const first = await pages.next();
    const events = eventsOf(first.done === true ? [] : first.value, pages);
    if (format === "ndjson") {
      reply.type("application/x-ndjson; charset=utf-8");
      return reply.send(Readable.from(linesOf(events)));
    }
    reply.type("text/csv; charset=utf-8").header("content-disposition", 'attachment; filename="events.csv"');
    const { stringify } = await import("csv-stringify");
    const csv = stringify({ header: true, columns: [...CSV_COLUMNS], escape_formulas: true });
    return reply.send(pipeline(Readable.from(recordsOf(events)), csv, () => undefined));
  }
}

type Reader = Pick<Caller, "name"> & { access: ArchiveAccess };

async function* pagesOf(
  read: Services["archive"]["page"],
  query: Omit<ArchiveQuery, "limit">,
  limit = Number.POSITIVE_INFINITY,
) {
  let left = limit;
  for (let before = query.before; left > 0; ) {
    const { events, next } = await read({ ...query, before, limit: Math.min(left, EXPORT_PAGE_EVENTS) });
    left -= events.length;
    yield events;
    if (next === undefined) return;
    before = next;
  }
}

type Events = readonly ArchivedEvent[];

async function* eventsOf(first: Events, pages: AsyncGenerator<Events>): AsyncGenerator<Events> {
  yield first;
  yield* pages;
}

async function* linesOf(pages: AsyncGenerator<Events>): AsyncGenerator<string> {
  for await (const events of pages) if (events.length > 0) yield `${events.map(textOf).join("\n")}\n`;
}

const CSV_COLUMNS = [
  ...["accepted_at", "timestamp", "epoch", "position", "kind", "event", "camera", "topic", "id", "data"],
] as const;

async function* recordsOf(pages: AsyncGenerator<Events>) {
  for await (const events of pages) {
    for (const { epoch, position, time, kind, camera, body } of events) {
      const { event, timestamp, topic, id, data } = JSON.parse(body);
      const acceptedAt = new Date(time).toISOString();
      yield [acceptedAt, timestamp, epoch, position, kind, event, camera, topic, id, JSON.stringify(data)];
    }
  }
}

/** The event as JSON. Its body is passed on without parsing. */
function textOf({ epoch, position, time, kind, body }: ArchivedEvent): string {
  const acceptedAt = new Date(time).toISOString();
  return `{"epoch":"${epoch}","position":${position},"accepted_at":"${acceptedAt}","kind":"${kind}",${body.slice(1)}`;
}

type Gap = Awaited<ReturnType<Services["archive"]["page"]>>["gaps"][number];

function gapOf({ epoch, after, before, reason, noticed_at }: Gap) {
  const noticedAt = new Date(noticed_at).toISOString();
  return { epoch, after, ...(before === null ? {} : { before }), reason, noticed_at: noticedAt };
}

/** No channel carries commands. A caller who may command a camera sees its commands and their replies. */
function commandAccessOf(grants: Grants): ArchiveAccess {
  if (grants.admin || grants.permissions.includes("camera:control")) return "all";
  const ofCameras = idsIn(grants, /^camera:([^:]+):control$/).filter(grants.canCommand);
  demand(ofCameras.length > 0, "camera:control or camera:{id}:control");
  return { ofCameras };
}

function idsIn({ permissions }: Grants, form: RegExp): string[] {
  return permissions.flatMap((permission) => form.exec(permission)?.[1] ?? []);
}

function formatOf({ headers: { accept = "" } }: FastifyRequest): "json" | "ndjson" | "csv" {
  if (accept.includes("application/x-ndjson")) return "ndjson";
  return accept.includes("text/csv") ? "csv" : "json";
}

/** The path of the next page: the same query with another cursor. */
function nextPath({ url }: FastifyRequest, cursor: number): string {
  const [path = "", ...query] = url.split("?");
  const parameters = new URLSearchParams(query.join("?"));
  parameters.set("cursor", String(cursor));
  return `${path}?${parameters}`;
}
