import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { type Account, type Powers, roleSchema } from "../../auth/accounts.ts";
import type { AuditAction } from "../../auth/audit-entry.ts";
import { passwordSchema } from "../../auth/passwords.ts";
import { grantedPermissionsSchema, ownUserIdSchema, userIdSchema } from "../../auth/tokens.ts";
import { adminOf } from "../callers.ts";
import { badRequest, notFound } from "../errors.ts";
import { checkPermissions } from "../permission-check.ts";
import { perMinute } from "../protection.ts";
import { readBody, readPath } from "../request-body.ts";
import type { OperatorServices } from "../services.ts";

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

/** `GET /users`, `POST /users`, `PUT /users/{id}` and `DELETE /users/{id}`: for admins. */
export function userRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority, audit, http, channels, addressOf } = services;
  const { accounts, revocations } = authority;
  /** Each request may compute a password hash. */
  const limited = perMinute(http.maxTokenRequestsPerMinute);

  function operator(request: FastifyRequest) {
    const caller = adminOf(callers, request);
    const address = addressOf(request.raw);
    return (action: AuditAction, userId: string, outcome: string) =>
      audit.record({ action, who: caller.name, address, target: `user:${userId}`, outcome });
  }

  server.get("/users", async (request) => {
    adminOf(callers, request);
    return { users: accounts.list().map(shown) };
  });

  server.post("/users", limited, async (request, reply) => {
    const note = operator(request);
    const { user_id: userId, password, ...asked } = readBody(newSchema, request.body);
    const powers = powersOf(asked);
    checkPermissions(asked.permissions ?? [], channels);
    if (powers === undefined) throw badRequest("`role` or `permissions` is missing: what the user may do");
    const account = await accounts.create({ userId, password, powers });
    note("user.create", userId, powersText(account));
    return reply.code(201).send(shown(account));
  });

  server.put("/users/:id", limited, async (request) => {
    const note = operator(request);
    const { id: userId } = readPath(paramsSchema, request);
    const { password, enabled, ...asked } = readBody(changeSchema, request.body);
    const powers = powersOf(asked);
    checkPermissions(asked.permissions ?? [], channels);
    if (password === undefined && enabled === undefined && powers === undefined)
      throw badRequest("The body must name `password`, `role`, `permissions` or `enabled`");
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
    const { id: userId } = readPath(paramsSchema, request);
    if (accounts.get(userId) === undefined) throw unknown(userId);
    await endTokens(userId);
    await accounts.remove(userId);
    note("user.remove", userId, "done");
    return reply.code(204).send();
  });

  /**
   * Revokes all tokens of the user, also those that an operator minted. Call it before the account is changed: if the
   * revocation fails, the account is still there for a retry.
   */
  async function endTokens(userId: string): Promise<void> {
    await revocations.add({ kind: "user", id: userId });
  }
}

/** @throws {RequestError} 400 if the body has both */
function powersOf({
  role,
  permissions,
}: {
  role?: Account["role"];
  permissions?: string[] | undefined;
}): Powers | undefined {
  if (role !== undefined && permissions !== undefined)
    throw badRequest("`role` and `permissions` exclude each other: a user has one of them");
  if (role !== undefined) return { role };
  return permissions === undefined ? undefined : { permissions };
}

/** The account as responses show it, without anything about the password. */
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
