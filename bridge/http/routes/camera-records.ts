import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { cameraNoteSchema, cameraRecordSchema } from "../../../contract/camera-records.ts";
import { cameraChannel } from "../../../contract/channels.ts";
import { idSchema } from "../../../contract/ids.ts";
import { auditedAdmin } from "../callers.ts";
import { badRequest, notFound } from "../errors.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const paramsSchema = z.object({ id: idSchema });
const { name, notes, location, tags } = cameraNoteSchema.shape;
/** An absent field stays as it is; null removes the field. */
const changeSchema = z.strictObject({
  name: name.nullable(),
  notes: notes.nullable(),
  location: location.nullable(),
  tags: tags.optional(),
});

const CHANGE: RouteDescription = {
  ...{ group: "Cameras and previews", summary: "Changes what is written about a camera", permissions: ["admin"] },
  ...{ path: paramsSchema, body: changeSchema },
  responses: { 200: { is: "The record of the camera", json: cameraRecordSchema } },
  errors: ["404 not_found", "409 limit"],
};

/** `PUT /cameras/{id}`: what admins write about a camera. The store has it; `published-records.ts` tells dashboards. */
export function cameraRecordRoutes(server: FastifyInstance, services: Services): void {
  const { journal, presence, records } = services;

  server.put("/cameras/:id", described(CHANGE), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    const change = readBody(changeSchema, request.body);
    const names = Object.keys(change);
    if (names.length === 0) throw badRequest("The body must name `name`, `notes`, `location` or `tags`");
    if (journal.snapshot(cameraChannel(id)).length === 0 && presence.of(id) === undefined)
      throw notFound(`Nothing is known about a camera ${id}`);
    await records.update(id, change);
    record("camera.update", `camera:${id}`, names.join(" "));
    return records.get(id) ?? { tags: [], groups: [] };
  });
}
