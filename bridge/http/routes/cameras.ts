import { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { cameraRecordSchema } from "../../../contract/camera-records.ts";
import { cameraChannel, DASHBOARD } from "../../../contract/channels.ts";
import { alertNoteSchema, presenceSchema, timestampSchema } from "../../../contract/events.ts";
import { idSchema, isId } from "../../../contract/ids.ts";
import type { Grants } from "../../../contract/permissions.ts";
import { PRESENCE_STATE, RECORD_STATE } from "../../../contract/topics.ts";
import { countByStatus, seenCameras } from "../../cameras/seen-cameras.ts";
import { dataTextOf, eventNameOf } from "../../delivery/frames.ts";
import { endOf } from "../../journal/entry-body.ts";
import type { StateEntry } from "../../journal/journal.ts";
import type { StoredPreview } from "../../previews/preview-store.ts";
import { latestPictureUrl } from "../../previews/previews.ts";
import { demand } from "../callers.ts";
import { notFound } from "../errors.ts";
import { readPath, readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

/** A page of the list ends early after this many characters, which take a few milliseconds of work. */
const MAX_PAGE_CHARS = 1_048_576;
/** The states that have a field of their own beside `states`. */
const OWN_FIELDS: ReadonlySet<string> = new Set([PRESENCE_STATE, RECORD_STATE]);
const CAMERAS_PATH = "/cameras";
const MAX_CAMERAS_PER_PAGE = 1_000;

const paramsSchema = z.object({ id: idSchema });
const querySchema = z.object({
  limit: z.coerce.number().int().min(1).max(MAX_CAMERAS_PER_PAGE).default(MAX_CAMERAS_PER_PAGE),
  /** The page begins after this id, which `next` of the previous page names. */
  after: idSchema.optional(),
});
const stateSchema = z.object({
  event: z.string(),
  data: z.unknown().describe("Exactly what the camera sent"),
  ...{ timestamp: z.string(), position: z.number() },
});
const cameraSchema = z.object({
  id: idSchema,
  presence: presenceSchema.optional(),
  record: cameraRecordSchema.optional().describe("What operators wrote about the camera, and its groups"),
  about: z.unknown().optional().describe("The description that the camera published"),
  states: z.record(z.string(), stateSchema),
  alerts: z.record(z.string(), z.unknown()).describe("Raised alerts by name"),
  alert_notes: z
    .record(z.string(), z.object({ acknowledgement: alertNoteSchema.optional(), mute: alertNoteSchema.optional() }))
    .describe("Who acknowledged or muted alerts, by the name of the alert"),
  preview: z
    .object({
      ...{ url: z.string(), etag: z.string(), taken_at: timestampSchema, saved_at: timestampSchema },
      size_bytes: z.number(),
    })
    .optional()
    .describe("The newest preview"),
});
const listSchema = z.object({
  cameras: z.array(
    cameraSchema.extend({
      left_out: z.array(z.string()).optional().describe("Large parts, such as `states.settings`"),
      url: z.string().optional().describe("With `left_out`: the path that has these parts"),
    }),
  ),
  total: z.number().describe("Cameras on all pages"),
  counts: z.record(z.string(), z.number()).describe("Cameras on all pages by status"),
  next: z.string().optional().describe("The path of the next page"),
});

const group = "Cameras and previews";
/** Each of these permissions suffices to see some camera. */
export const READS_SOME_CAMERA = ["dashboard:read", "camera:read", "camera:{id}:read"];
const LIST: RouteDescription = {
  ...{ group, summary: "Lists the cameras that the token may see", query: querySchema },
  permissions: READS_SOME_CAMERA,
  responses: { 200: { is: "A page of cameras by id", json: listSchema } },
};
const SHOW: RouteDescription = {
  ...{ group, summary: "One camera with all its states", path: paramsSchema },
  permissions: READS_SOME_CAMERA,
  responses: { 200: { is: "The camera", json: cameraSchema } },
  errors: ["404 not_found"],
};

/**
 * `GET /cameras`, in pages by id, and `GET /cameras/{id}`. The cameras' states are passed on without parsing: parsing
 * 78 MB of states blocked the event loop for 6 s.
 */
export function cameraRoutes(server: FastifyInstance, services: Services): void {
  const { callers, http, journal, presence, previews, records } = services;

  server.get("/cameras", described(LIST), async (request, reply) => {
    const { grants } = callers.of(request);
    demand(readsSomeCamera(grants), "dashboard:read, camera:read or camera:{id}:read");
    const { limit, after } = readQuery(querySchema, request);
    const all = visibleCameras(grants);
    const from = after === undefined ? 0 : all.findIndex((id) => id > after);
    const ids = from < 0 ? [] : all.slice(from, from + limit);
    const newest = await previews.newest(ids);
    const listed: string[] = [];
    let chars = 0;
    for (const id of ids) {
      if (chars > MAX_PAGE_CHARS) break;
      const text = [...cameraText(id, journal.snapshot(cameraChannel(id)), http.maxListedStateBytes, newest.get(id))];
      listed.push(text.join(""));
      chars += listed.at(-1)?.length ?? 0;
    }
    const last = ids[listed.length - 1];
    const isLast = last === undefined || last === all.at(-1);
    const next = isLast ? "" : `,"next":"${CAMERAS_PATH}?limit=${limit}&after=${last}"`;
    reply.type("application/json; charset=utf-8");
    const counts = JSON.stringify(countByStatus(all, presence));
    return reply.send(`{"cameras":[${listed.join(",")}],"total":${all.length},"counts":${counts}${next}}`);
  });

  server.get("/cameras/:id", described(SHOW), async (request, reply) => {
    const { grants } = callers.of(request);
    const { id } = readPath(paramsSchema, request);
    demand(grants.seesCamera(id), `camera:${id}:read`);
    const entries = journal.snapshot(cameraChannel(id));
    if (entries.length === 0 && presence.of(id) === undefined) throw notFound(`Nothing is known about a camera ${id}`);
    const newest = (await previews.newest([id])).get(id);
    reply.type("application/json; charset=utf-8");
    return reply.send(Readable.from(cameraText(id, entries, Number.POSITIVE_INFINITY, newest)));
  });

  function visibleCameras(grants: Grants): string[] {
    return [...seenCameras(journal)].filter((id) => grants.seesCamera(id)).sort();
  }

  /** The JSON of a camera, state by state. A state larger than `maxBytes` is only named, in `left_out`. */
  function* cameraText(id: string, entries: readonly StateEntry[], maxBytes: number, newest?: StoredPreview) {
    const about: StateEntry[] = [];
    const states: [string, StateEntry][] = [];
    const alerts: [string, StateEntry][] = [];
    const notes = new Map<string, string[]>();
    const leftOut: string[] = [];
    for (const entry of entries) {
      const topic = services.tree.parse(entry.topic);
      if (topic?.kind === "camera-about") about.push(entry);
      else if (topic?.kind === "camera-alert") alerts.push([topic.name, entry]);
      else if (topic?.kind === "camera-alert-note")
        notes.set(topic.name, [...(notes.get(topic.name) ?? []), `"${topic.note}":${dataTextOf(entry.body)}`]);
      else if (topic?.kind === "camera-state" && !OWN_FIELDS.has(topic.name)) states.push([topic.name, entry]);
    }
    const fits = (name: string, { body }: StateEntry) => {
      if (body.length <= maxBytes) return true;
      leftOut.push(name);
      return false;
    };

    yield `{"id":"${id}"`;
    const seen = presence.of(id);
    if (seen !== undefined) yield `,"presence":${JSON.stringify(seen)}`;
    const record = records.get(id);
    if (record !== undefined) yield `,"record":${JSON.stringify(record)}`;
    for (const entry of about) if (fits("about", entry)) yield `,"about":${dataTextOf(entry.body)}`;
    yield ',"states":{';
    let comma = "";
    for (const [name, entry] of states) {
      const data = fits(`states.${name}`, entry) ? `"data":${dataTextOf(entry.body)},` : "";
      const { timestamp } = endOf(entry);
      yield `${comma}"${name}":{"event":"${eventNameOf(entry.body)}",${data}"timestamp":"${timestamp}","position":${entry.position}}`;
      comma = ",";
    }
    yield '},"alerts":{';
    comma = "";
    for (const [name, entry] of alerts) {
      if (!fits(`alerts.${name}`, entry)) continue;
      yield `${comma}"${name}":${dataTextOf(entry.body)}`;
      comma = ",";
    }
    const noted = [...notes].map(([name, texts]) => `"${name}":{${texts.join(",")}}`);
    yield `},"alert_notes":{${noted.join(",")}}`;
    if (newest !== undefined) yield `,"preview":${JSON.stringify(previewOf(id, newest))}`;
    yield leftOut.length === 0 ? "}" : `,"left_out":${JSON.stringify(leftOut)},"url":"${CAMERAS_PATH}/${id}"}`;
  }
}

function previewOf(id: string, { etag, takenAt, savedAt, sizeBytes }: StoredPreview) {
  return {
    url: latestPictureUrl(id),
    etag,
    taken_at: new Date(takenAt).toISOString(),
    saved_at: new Date(savedAt).toISOString(),
    size_bytes: sizeBytes,
  };
}

export function readsSomeCamera(grants: Grants): boolean {
  return (
    grants.admin ||
    grants.canReadChannel(DASHBOARD) ||
    grants.permissions.some((held) => held === "camera:read" || isId(/^camera:([^:]+):read$/.exec(held)?.[1] ?? ""))
  );
}
