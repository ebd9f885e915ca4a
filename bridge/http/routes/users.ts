import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { type Account, type Powers, roleSchema } from "../../auth/accounts.ts";
import type { AuditAction } from "../../auth/audit-entry.ts";
import { passwordSchema } from "../../auth/passwords.ts";
import { grantedPermissionsSchema, ownUserIdSchema, userIdSchema } from "../../auth/tokens.ts";
import { badRequest, notFound } from "../errors.ts";
import { demand } from "./callers.ts";
import { checkPermissions } from "./permission-check.ts";
import { read } from "./request-body.ts";
import { type OperatorServices, perMinute } from "./services.ts";

const paramsSchema = z.object({ id: userIdSchema });
const changeSchema = z.strictObject({
  password: passwordSchema.optional(),
  role: roleSchema.optional(),
  permissions: grantedPermissionsSchema.optional(),
  enabled: z.boolean().optional(),
});
const newSchema = z.strictObject({
  user_id: ownUserIdSchema,
  password: passwordSchema,
  role: roleSchema.optional(),
  permissions: grantedPermissionsSchema.optional(),
});

/** `GET /users`, `POST /users`, `PUT /users/{id}`, `DELETE /users/{id}`: for the operator key or an admin. */
export function userRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority, audit, http, channels, addressOf } = services;
  const { accounts, revocations } = authority;
  /** Each may cost a hash. */
  const limited = perMinute(http.maxTokenRequestsPerMinute);

  function operator(request: FastifyRequest) {
    const caller = callers.of(request);
    demand(caller.grants.admin, "admin");
    const address = addressOf(request.raw);
    return (action: AuditAction, userId: string, outcome: string) =>
      audit.record({ action, who: caller.name, address, target: `user:${userId}`, outcome });
  }

  server.get("/users", async (request) => {
    demand(callers.of(request).grants.admin, "admin");
    return { users: accounts.list().map(shown) };
  });

  server.post("/users", limited, async (request, reply) => {
    const note = operator(request);
    const { user_id: userId, password, ...asked } = read(newSchema, request.body);
    const powers = powersOf(asked);
    checkPermissions(asked.permissions ?? [], channels);
    if (powers === undefined)
      throw badRequest("The body is not right: role or permissions must say what the user may do");
    const account = await accounts.create({ userId, password, powers });
    note("user.create", userId, powersText(account));
    return reply.code(201).send(shown(account));
  });

  server.put("/users/:id", limited, async (request) => {
    const note = operator(request);
    const { id: userId } = read(paramsSchema, request.params, "The path");
    const { password, enabled, ...asked } = read(changeSchema, request.body);
    const powers = powersOf(asked);
    checkPermissions(asked.permissions ?? [], channels);
    if (password === undefined && enabled === undefined && powers === undefined)
      throw badRequest("The body must name password, role, permissions or enabled");
    if (accounts.get(userId) === undefined) throw unknown(userId);
    if (password !== undefined || enabled === false) await endTokens(userId);
    const account = await accounts.update(userId, { password, enabled, powers });
    const changes = [
      ...(password === undefined ? [] : ["password"]),
      ...(powers === undefined ? [] : [powersText(account)]),
      ...(enabled === undefined ? [] : [enabled ? "enabled" : "disabled"]),
    ];
    note("user.update", userId, changes.join(" "));
    return shown(account);
  });

  server.delete("/users/:id", limited, async (request, reply) => {
    const note = operator(request);
    const { id: userId } = read(paramsSchema, request.params, "The path");
    if (accounts.get(userId) === undefined) throw unknown(userId);
    await endTokens(userId);
    await accounts.remove(userId);
    note("user.remove", userId, "done");
    return reply.code(204).send();
  });

  /** Those in his name that an operator minted, too. First, so that a failure leaves an account to try again with. */
  async function endTokens(userId: string): Promise<void> {
    await revocations.add({ kind: "user", id: userId });
  }
}

/** @throws {RequestError} 400 for both */
function powersOf({
  role,
  permissions,
}: {
  role?: Account["role"];
  permissions?: string[] | undefined;
}): Powers | undefined {
  if (role !== undefined && permissions !== undefined)
    throw badRequest("The body is not right: a user has a role or permissions, not both");
  if (role !== undefined) return { role };
  return permissions === undefined ? undefined : { permissions };
}

/** Never with anything of the password. */
function shown({ userId, role, permissions, enabled, changedAt }: Account) {
  return {
    user_id: userId,
    ...(role === undefined ? {} : { role }),
    permissions,
    enabled,
    changed_at: new Date(changedAt).toISOString(),
  };
}

function powersText({ role, permissions }: Account): string {
  return role === undefined ? `permissions ${permissions.join(" ")}` : `role ${role}`;
}

function unknown(userId: string) {
  return notFound(`There is no account ${JSON.stringify(userId)}`);
}
