import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { groupCamerasSchema, groupNameSchema } from "../../../contract/camera-records.ts";
import { idSchema } from "../../../contract/ids.ts";
import { type CameraGroup, versionOf } from "../../auth/camera-groups.ts";
import { auditedAdmin, demand } from "../callers.ts";
import { badRequest, RequestError } from "../errors.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { OperatorServices } from "../services.ts";
import { READS_SOME_CAMERA, readsSomeCamera } from "./cameras.ts";

const paramsSchema = z.object({ id: idSchema });
const newSchema = z.strictObject({ id: idSchema, name: groupNameSchema, cameras: groupCamerasSchema.default([]) });
const changeSchema = z.strictObject({
  name: groupNameSchema.optional(),
  cameras: groupCamerasSchema.optional(),
  version: z
    .string()
    .max(64)
    .optional()
    .describe(
      "The version that the admin has read. If the group has another one now, the answer is 409. Without it, any is replaced",
    ),
});
const groupSchema = z.object({
  ...{ id: idSchema, name: z.string(), cameras: z.array(idSchema) },
  version: z.string().optional().describe("Another one after each change. Only for admins"),
});

const group = "Camera groups";
const LIST: RouteDescription = {
  ...{ group, summary: "Lists the groups of cameras that the token may see", permissions: READS_SOME_CAMERA },
  responses: {
    200: {
      is: "The groups by id, with the cameras that the token may see",
      json: z.object({ groups: z.array(groupSchema) }),
    },
  },
};
const CREATE: RouteDescription = {
  ...{ group, summary: "Makes a group of cameras", permissions: ["admin"], body: newSchema },
  responses: { 201: { is: "The group", json: groupSchema } },
  errors: ["409 conflict"],
};
const CHANGE: RouteDescription = {
  ...{ group, summary: "Changes a group of cameras", permissions: ["admin"], path: paramsSchema, body: changeSchema },
  responses: { 200: { is: "The changed group", json: groupSchema } },
  errors: ["404 not_found", "409 conflict"],
};
const REMOVE: RouteDescription = {
  ...{ group, summary: "Removes a group of cameras", permissions: ["admin"], path: paramsSchema },
  responses: { 204: { is: "The group is removed" } },
  errors: ["404 not_found", "409 conflict"],
};

/** `GET /camera-groups` for readers of cameras; `POST`, `PUT` and `DELETE` for admins. */
export function cameraGroupRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority } = services;
  const { cameraGroups, accounts } = authority;

  server.get("/camera-groups", described(LIST), async (request) => {
    const { grants } = callers.of(request);
    demand(readsSomeCamera(grants), READS_SOME_CAMERA.join(", "));
    const groups = cameraGroups.list().map((one) => {
      // The version is a hash of all cameras, from which others could guess the cameras that they may not see.
      const shown = grants.admin ? versioned(one) : one;
      return { ...shown, cameras: one.cameras.filter(grants.seesCamera) };
    });
    // The name of a group of others may say something about their cameras.
    return { groups: grants.onlyCameras === undefined ? groups : groups.filter(({ cameras }) => cameras.length > 0) };
  });

  server.post("/camera-groups", described(CREATE), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const asked = readBody(newSchema, request.body);
    await checkUnused(asked.id);
    const made = await cameraGroups.add(asked);
    record("camera-group.create", `camera-group:${made.id}`, camerasText(made));
    return reply.code(201).send(versioned(made));
  });

  server.put("/camera-groups/:id", described(CHANGE), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    const change = readBody(changeSchema, request.body);
    if (change.name === undefined && change.cameras === undefined)
      throw badRequest("The body must name `name` or `cameras`");
    const changed = await cameraGroups.update(id, change);
    record("camera-group.update", `camera-group:${id}`, camerasText(changed));
    return versioned(changed);
  });

  server.delete("/camera-groups/:id", described(REMOVE), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    await checkUnused(id);
    await cameraGroups.remove(id);
    record("camera-group.remove", `camera-group:${id}`);
    return reply.code(204).send();
  });

  /**
   * A new group must not let the users see its cameras who were limited to an earlier group with its id: another node may
   * have limited a user to the group while this node removed it.
   * @throws {RequestError} 409 accounts are limited to the group @throws {StoreUnavailableError}
   */
  async function checkUnused(id: string): Promise<void> {
    await accounts.refresh();
    const users = accounts.list().flatMap(({ userId, cameraGroups = [] }) => (cameraGroups.includes(id) ? userId : []));
    if (users.length === 0) return;
    const message = `Accounts are limited to the group ${JSON.stringify(id)}: ${users.join(", ")}. Change them first`;
    throw new RequestError(409, "conflict", message, { users });
  }
}

const versioned = (group: CameraGroup) => ({ ...group, version: versionOf(group) });

/** For the audit log: who sees which camera depends on the groups. */
const camerasText = ({ cameras }: CameraGroup) => `cameras ${cameras.join(" ")}`;
