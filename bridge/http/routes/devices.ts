import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import {
  type Credential,
  certificateNameSchema,
  type Device,
  deviceKindSchema,
  deviceSecretSchema,
} from "../../auth/devices.ts";
import { adminOf, auditedAdmin } from "../callers.ts";
import { badRequest } from "../errors.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { OperatorServices } from "../services.ts";

const paramsSchema = z.object({ id: idSchema });
const credentialSchema = z.strictObject({
  secret: deviceSecretSchema.optional(),
  certificate_name: certificateNameSchema.optional(),
});
const newSchema = credentialSchema.extend({ id: idSchema, kind: deviceKindSchema.default("camera") });
const shownSchema = z.object({
  id: idSchema,
  kind: deviceKindSchema,
  certificate_name: z.string().optional().describe("Absent for a device with a secret"),
  changed_at: timestampSchema,
});
const withSecretSchema = shownSchema.extend({
  secret: z.string().optional().describe("Only in the response to the request that created the secret"),
});

const mqttSchema = z
  .object({
    protocol: z.string().describe("`mqtt` or `mqtts`; with `MQTT_URL` also `ws` or `wss`"),
    host: z.string().optional().describe("Absent: the host of this server"),
    port: z.number(),
  })
  .describe("Where devices connect");

const common = { group: "Devices", permissions: ["admin"] };
const LIST: RouteDescription = {
  ...{ ...common, summary: "Lists cameras and processing services" },
  responses: {
    200: {
      is: "All devices, without secrets",
      json: z.object({ devices: z.array(shownSchema), mqtt: mqttSchema.optional() }),
    },
  },
};
const REGISTER: RouteDescription = {
  ...{ ...common, summary: "Registers a device", body: newSchema },
  responses: { 201: { is: "The device", json: withSecretSchema } },
  errors: ["409 conflict"],
};
const ROTATE: RouteDescription = {
  ...{ ...common, summary: "Replaces the secret or certificate of a device" },
  ...{ path: paramsSchema, body: credentialSchema.optional() },
  responses: { 200: { is: "The device", json: withSecretSchema } },
  errors: ["404 not_found", "409 conflict"],
};
const REMOVE: RouteDescription = {
  ...{ ...common, summary: "Removes a device", path: paramsSchema },
  responses: { 204: { is: "The device is removed" } },
  errors: ["404 not_found"],
};

/**
 * `GET /devices`, `POST /devices`, `POST /devices/{id}/rotate` and `DELETE /devices/{id}`: for admins. A secret is only
 * in the response to the request that created it.
 */
export function deviceRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority, records } = services;
  const { devices } = authority;

  server.get("/devices", described(LIST), async (request) => {
    adminOf(callers, request);
    return { devices: devices.list().map(shown), mqtt: services.mqttAddress?.() };
  });

  server.post("/devices", described(REGISTER), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { id, kind, ...asked } = readBody(newSchema, request.body);
    const secret = await devices.add({ id, kind, credential: credentialOf(asked) });
    record("device.create", `device:${id}`, kind);
    return reply.code(201).send(withSecret(devices.get(id), secret));
  });

  server.post("/devices/:id/rotate", described(ROTATE), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    const secret = await devices.rotate(id, credentialOf(readBody(credentialSchema, request.body ?? {})));
    record("device.rotate", `device:${id}`);
    return withSecret(devices.get(id), secret);
  });

  server.delete("/devices/:id", described(REMOVE), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    // First: if a later write fails, the camera still exists, and the request can be repeated.
    if (devices.get(id)?.kind === "camera") {
      await authority.cameraGroups.removeCamera(id);
      await records.remove(id);
    }
    await devices.remove(id);
    record("device.remove", `device:${id}`);
    return reply.code(204).send();
  });
}

function credentialOf({ secret, certificate_name }: z.output<typeof credentialSchema>): Credential {
  if (secret !== undefined && certificate_name !== undefined)
    throw badRequest("`secret` and `certificate_name` exclude each other: a device authenticates by one of them");
  return certificate_name === undefined ? { secret } : { certificateName: certificate_name };
}

function shown({ id, kind, certificateName, changedAt }: Device) {
  return {
    ...{ id, kind },
    ...(certificateName === undefined ? {} : { certificate_name: certificateName }),
    changed_at: new Date(changedAt).toISOString(),
  };
}

/** The response contains the secret even if another request has removed the device in the meantime. */
function withSecret(device: Device | undefined, secret: string | undefined) {
  return { ...(device === undefined ? {} : shown(device)), ...(secret === undefined ? {} : { secret }) };
}
