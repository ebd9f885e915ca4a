import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { cameraChannel } from "../../../contract/channels.ts";
import { commandArgs } from "../../../contract/commands.ts";
import type { DesiredName } from "../../../contract/desired.ts";
import { timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import { demand } from "../callers.ts";
import { notFound } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const paramsSchema = z.object({ id: idSchema });
const bodies = { schedule: commandArgs["schedule.set"], settings: commandArgs["settings.set"] };
const keptSchema = z.object({
  version: z.number().int().positive(),
  value: z.unknown().describe("As in the request"),
  by: z.string().describe("Who asked for it"),
  at: timestampSchema,
});

const common: Pick<RouteDescription, "group" | "permissions" | "path" | "responses" | "errors"> = {
  ...{ group: "Commands", permissions: ["camera:control", "camera:{id}:control"], path: paramsSchema },
  responses: {
    200: { is: "The new version. The camera's state `desired` says whether it is applied", json: keptSchema },
  },
  errors: ["404 not_found"],
};
const SCHEDULE: RouteDescription = {
  ...{ ...common, summary: "Sets the schedule that a camera shall follow", body: bodies.schedule },
};
const SETTINGS: RouteDescription = {
  ...{ ...common, summary: "Sets the settings that a camera shall have", body: bodies.settings },
};

/**
 * `PUT /cameras/{id}/schedule` and `PUT /cameras/{id}/settings`: kept by the server, and sent to the camera as soon as it
 * is connected.
 */
export function desiredRoutes(server: FastifyInstance, services: Services): void {
  const { callers, desired, journal, presence, http, authority, audit, addressOf } = services;

  async function set(request: FastifyRequest, name: DesiredName) {
    const { grants, name: who } = callers.of(request);
    const { id } = readPath(paramsSchema, request);
    demand(grants.canCommand(id), `camera:${id}:control`);
    const value = readBody(bodies[name], request.body);
    const isKnown =
      presence.of(id) !== undefined ||
      authority.devices.get(id)?.kind === "camera" ||
      journal.snapshot(cameraChannel(id)).length > 0;
    if (!isKnown) throw notFound(`Nothing is known about a camera ${id}`);
    const { version, at } = await desired.set(id, name, value, who);
    const address = addressOf(request.raw);
    audit.record({ action: "command", who, address, target: `camera:${id} ${name}`, outcome: `version ${version}` });
    return { version, value, by: who, at: new Date(at).toISOString() };
  }

  server.put("/cameras/:id/schedule", described(SCHEDULE, perMinute(http.maxCommandsPerMinute)), (request) =>
    set(request, "schedule"),
  );
  server.put("/cameras/:id/settings", described(SETTINGS, perMinute(http.maxCommandsPerMinute)), (request) =>
    set(request, "settings"),
  );
}
