import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { cameraChannel, DASHBOARD } from "../../contract/channels.ts";
import type { presenceSchema } from "../../contract/events.ts";
import { idSchema, isId } from "../../contract/ids.ts";
import type { Grants } from "../../contract/permissions.ts";
import { PRESENCE_STATE } from "../../contract/topics.ts";
import { notFound } from "../errors.ts";
import type { StateEntry } from "../journal/journal.ts";
import type { StoredPreview } from "../previews/preview-store.ts";
import { latestPictureUrl } from "../previews.ts";
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
  preview: { url: string; etag: string; taken_at: string; saved_at: string; size_bytes: number } | undefined;
}

/** `GET /cameras` and `GET /cameras/{id}`. */
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
    const ids = [...entries.keys()].sort();
    const newest = await previews.newest(ids);
    return { cameras: ids.map((id) => view(id, entries.get(id) ?? [], newest.get(id))) };
  });

  server.get("/cameras/:id", async (request) => {
    const { grants } = callers.of(request);
    const { id } = read(paramsSchema, request.params, "The path");
    demand(grants.seesCamera(id), `camera:${id}:read`);
    const entries = journal.snapshot(cameraChannel(id));
    if (entries.length === 0 && presence.of(id) === undefined) throw notFound(`Nothing was heard of a camera ${id}`);
    return view(id, entries, (await previews.newest([id])).get(id));
  });

  function view(id: string, entries: readonly StateEntry[], newest: StoredPreview | undefined): CameraView {
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
    if (newest !== undefined) {
      const { etag, takenAt, savedAt, sizeBytes } = newest;
      seen.preview = {
        url: latestPictureUrl(id),
        etag,
        taken_at: new Date(takenAt).toISOString(),
        saved_at: new Date(savedAt).toISOString(),
        size_bytes: sizeBytes,
      };
    }
    return seen;
  }
}

function readsSomeCamera(grants: Grants): boolean {
  return (
    grants.admin ||
    grants.canReadChannel(DASHBOARD) ||
    grants.permissions.some((held) => held === "camera:read" || isId(/^camera:([^:]+):read$/.exec(held)?.[1] ?? ""))
  );
}
