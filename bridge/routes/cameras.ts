import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { cameraChannel, DASHBOARD } from "../../contract/channels.ts";
import type { presenceSchema } from "../../contract/events.ts";
import { idSchema } from "../../contract/ids.ts";
import type { Grants } from "../../contract/permissions.ts";
import { PRESENCE_STATE } from "../../contract/topics.ts";
import { notFound } from "../errors.ts";
import type { StateEntry } from "../journal/journal.ts";
import { LATEST_PICTURE_ROUTE, latestPictureUrl } from "../previews.ts";
import { demand } from "./callers.ts";
import { read } from "./request-body.ts";
import type { Services } from "./services.ts";

const paramsSchema = z.object({ id: idSchema });
const bodySchema = z.object({ event: z.string(), data: z.unknown(), timestamp: z.string() });

interface CameraView {
  id: string;
  presence: z.infer<typeof presenceSchema> | undefined;
  about: unknown;
  /** The last value of each state, by name. */
  states: Record<string, z.infer<typeof bodySchema> & { position: number }>;
  alerts: Record<string, unknown>;
  preview: { url: string; etag: string; saved_at: string; size_bytes: number } | undefined;
}

/** `GET /cameras`, `GET /cameras/{id}` and `GET /cameras/{id}/latest.jpg`. */
export function cameraRoutes(server: FastifyInstance, services: Services): void {
  const { callers, journal, presence, previews } = services;

  server.get("/cameras", async (request) => {
    const { grants } = callers.of(request);
    demand(readsSomeCamera(grants), "dashboard:read, camera:read or camera:{id}:read");
    const entries = new Map<string, StateEntry[]>();
    for (const entry of journal.snapshot(DASHBOARD)) {
      if (entry.camera === undefined || !grants.seesCamera(entry.camera)) continue;
      const ofCamera = entries.get(entry.camera);
      if (ofCamera === undefined) entries.set(entry.camera, [entry]);
      else ofCamera.push(entry);
    }
    return { cameras: [...entries.keys()].sort().map((id) => view(id, entries.get(id) ?? [])) };
  });

  server.get("/cameras/:id", async (request) => {
    const { grants } = callers.of(request);
    const { id } = read(paramsSchema, request.params, "The path");
    demand(grants.seesCamera(id), `camera:${id}:read`);
    const entries = journal.snapshot(cameraChannel(id));
    if (entries.length === 0 && presence.of(id) === undefined) throw notFound(`Nothing was heard of a camera ${id}`);
    return view(id, entries);
  });

  server.get(LATEST_PICTURE_ROUTE, async (request, reply) => {
    const { grants } = callers.of(request);
    const { id } = read(paramsSchema, request.params, "The path");
    demand(grants.seesCamera(id), `camera:${id}:read`);
    const latest = previews.latest(id);
    // Kept by the reader, but asked for anew each time: the etag makes that cheap.
    reply.header("cache-control", "private, no-cache");
    if (latest !== undefined && matches(request.headers["if-none-match"], latest.etag))
      return reply.code(304).header("etag", latest.etag).send();
    const picture = await latest?.read();
    if (latest === undefined || picture === undefined) throw notFound(`There is no picture of the camera ${id} yet`);
    return reply
      .header("etag", picture.etag)
      .header("last-modified", latest.savedAt.toUTCString())
      .type(latest.contentType)
      .send(picture.bytes);
  });

  function view(id: string, entries: readonly StateEntry[]): CameraView {
    const seen: CameraView = {
      id,
      presence: presence.of(id),
      about: undefined,
      states: {},
      alerts: {},
      preview: undefined,
    };
    for (const entry of entries) {
      const topic = services.tree.parse(entry.topic);
      const { event, data, timestamp } = bodySchema.parse(JSON.parse(`{${entry.body}}`));
      if (topic?.kind === "camera-about") seen.about = data;
      else if (topic?.kind === "camera-alert") seen.alerts[topic.name] = data;
      else if (topic?.kind === "camera-state" && topic.name !== PRESENCE_STATE)
        seen.states[topic.name] = { event, data, timestamp, position: entry.position };
    }
    const latest = previews.latest(id);
    if (latest !== undefined) {
      const { etag, savedAt, sizeBytes } = latest;
      seen.preview = { url: latestPictureUrl(id), etag, saved_at: savedAt.toISOString(), size_bytes: sizeBytes };
    }
    return seen;
  }
}

function readsSomeCamera(grants: Grants): boolean {
  return (
    grants.admin ||
    grants.canReadChannel(DASHBOARD) ||
    grants.permissions.some((held) => held === "camera:read" || /^camera:[^:]+:read$/.test(held))
  );
}

/** `If-None-Match`, compared weakly (RFC 9110 section 13.1.2). */
function matches(header: string | undefined, etag: string): boolean {
  return (header ?? "").split(",").some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
