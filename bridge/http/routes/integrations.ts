import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import { roleSchema } from "../../auth/accounts.ts";
import { DEFAULT_OVERLAP_SECONDS, type Integration, UnknownIntegrationError } from "../../auth/integrations.ts";
import { grantedPermissionsSchema } from "../../auth/tokens.ts";
import { adminOf, auditedAdmin } from "../callers.ts";
import { badRequest } from "../errors.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { OperatorServices } from "../services.ts";
import { powersOf, powersText } from "./users.ts";

/** The longest overlap of two secrets: 90 days. */
const MAX_OVERLAP_SECONDS = 90 * 86_400;

const paramsSchema = z.object({ id: idSchema });
const changeSchema = z.strictObject({
  role: roleSchema.optional(),
  permissions: grantedPermissionsSchema.optional(),
});
const newSchema = changeSchema.extend({ id: idSchema });
const rotateSchema = z.strictObject({
  overlap_seconds: z
    .number()
    .int()
    .min(0)
    .max(MAX_OVERLAP_SECONDS)
    .default(DEFAULT_OVERLAP_SECONDS)
    .describe("How long the previous secret stays valid. 0 ends it, and its connections, at once"),
});
const shownSchema = z.object({
  id: idSchema,
  role: roleSchema.optional().describe("Absent for a list of permissions"),
  permissions: z.array(z.string()),
  secrets: z
    .array(z.object({ created_at: timestampSchema, expires_at: timestampSchema.optional() }))
    .describe("The valid secrets, the newest first: two while a rotation overlaps"),
  last_used_at: timestampSchema.optional().describe("The last authentication, exact to a minute. Absent: never used"),
});
const withSecretSchema = shownSchema.extend({
  secret: z.string().describe("Only in the response to the request that created the secret"),
});

const common = { group: "Integrations", permissions: ["admin"] };
const LIST: RouteDescription = {
  ...{ ...common, summary: "Lists the integrations" },
  responses: {
    200: { is: "All integrations, without secrets", json: z.object({ integrations: z.array(shownSchema) }) },
  },
};
const CREATE: RouteDescription = {
  ...{ ...common, summary: "Adds an integration", body: newSchema },
  responses: { 201: { is: "The integration with its secret", json: withSecretSchema } },
  errors: ["409 conflict"],
};
const CHANGE: RouteDescription = {
  ...{ ...common, summary: "Changes what an integration may do", path: paramsSchema, body: changeSchema },
  responses: { 200: { is: "The integration", json: shownSchema } },
  errors: ["404 not_found"],
};
const ROTATE: RouteDescription = {
  ...{ ...common, summary: "Gives an integration a new secret", path: paramsSchema, body: rotateSchema.optional() },
  responses: { 200: { is: "The integration with its new secret", json: withSecretSchema } },
  errors: ["404 not_found"],
};
const REMOVE: RouteDescription = {
  ...{ ...common, summary: "Removes an integration", path: paramsSchema },
  responses: { 204: { is: "The integration is removed, and its connections end" } },
  errors: ["404 not_found"],
};

/**
 * `GET /integrations`, `POST /integrations`, `PUT /integrations/{id}`, `POST /integrations/{id}/rotate` and `DELETE
 * /integrations/{id}`: for admins. A secret is only in the response to the request that created it.
 */
export function integrationRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority, channels } = services;
  const { integrations, accounts } = authority;

  server.get("/integrations", described(LIST), async (request) => {
    adminOf(callers, request);
    const uses = await integrations.lastUses();
    return { integrations: integrations.list().map((integration) => shown(integration, uses)) };
  });

  server.post("/integrations", described(CREATE), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { id, ...asked } = readBody(newSchema, request.body);
    const powers = powersOf(asked, channels);
    if (powers === undefined) throw badRequest("`role` or `permissions` is missing: what the integration may do");
    // Logs, limits and revocations know both by this name.
    if (accounts.get(id) !== undefined)
      throw badRequest(`There is an account ${JSON.stringify(id)}: choose another id for the integration`);
    const secret = await integrations.add(id, powers);
    record("integration.create", `user:${id}`, powersText(known(id)));
    return reply.code(201).send({ ...shown(known(id)), secret });
  });

  server.put("/integrations/:id", described(CHANGE), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    const powers = powersOf(readBody(changeSchema, request.body), channels);
    if (powers === undefined) throw badRequest("The body must name `role` or `permissions`");
    await integrations.setPowers(id, powers);
    record("integration.update", `user:${id}`, powersText(known(id)));
    return shown(known(id), await integrations.lastUses());
  });

  server.post("/integrations/:id/rotate", described(ROTATE), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    const { overlap_seconds: overlapSeconds } = readBody(rotateSchema, request.body ?? {});
    const secret = await integrations.rotate(id, overlapSeconds);
    record("integration.rotate", `user:${id}`);
    return { ...shown(known(id), await integrations.lastUses()), secret };
  });

  server.delete("/integrations/:id", described(REMOVE), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { id } = readPath(paramsSchema, request);
    await integrations.remove(id);
    record("integration.remove", `user:${id}`);
    return reply.code(204).send();
  });

  /** @throws {UnknownIntegrationError} another request has removed the integration in the meantime */
  function known(id: string): Integration {
    const integration = integrations.get(id);
    if (integration === undefined) throw new UnknownIntegrationError(`There is no integration ${JSON.stringify(id)}`);
    return integration;
  }
}

function shown({ id, role, permissions, secrets }: Integration, uses: ReadonlyMap<string, number> = new Map()) {
  const usedAt = uses.get(id);
  return {
    id,
    ...(role === undefined ? {} : { role }),
    permissions,
    secrets: secrets.map(({ createdAt, expiresAt }) => ({
      created_at: timeOf(createdAt),
      ...(expiresAt === undefined ? {} : { expires_at: timeOf(expiresAt) }),
    })),
    ...(usedAt === undefined ? {} : { last_used_at: timeOf(usedAt) }),
  };
}

const timeOf = (milliseconds: number): string => new Date(milliseconds).toISOString();
