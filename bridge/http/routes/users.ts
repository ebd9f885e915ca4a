import type { FastifyInstance } from "fastify";
import { z } from "zod";
import type { CustomChannels } from "../../../contract/channels.ts";
import { timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import { type Account, type Powers, roleSchema } from "../../auth/accounts.ts";
import type { CameraGroups } from "../../auth/camera-groups.ts";
import { passwordSchema } from "../../auth/passwords.ts";
import { grantedPermissionsSchema, isProvided, ownUserIdSchema, userIdSchema } from "../../auth/tokens.ts";
import { adminOf, auditedAdmin } from "../callers.ts";
import { badRequest, notFound } from "../errors.ts";
import { checkPermissions } from "../permission-check.ts";
import { perMinute } from "../protection.ts";
import { readBody, readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { OperatorServices } from "../services.ts";

const MAX_CAMERA_GROUPS_PER_USER = 20;

const IS_PROVIDED =
  "The user signs in with the identity provider, which gives password, role and permissions: change them there";
const paramsSchema = z.object({ id: userIdSchema });
const cameraGroupsSchema = z.array(idSchema).min(1, "must name a group").max(MAX_CAMERA_GROUPS_PER_USER);
const changeSchema = z.strictObject({
  password: passwordSchema.optional(),
  role: roleSchema.optional(),
  permissions: grantedPermissionsSchema.optional(),
  /** Null: the user is not limited to groups. */
  camera_groups: cameraGroupsSchema.nullable().optional(),
  enabled: z.boolean().optional(),
});
const newSchema = z.strictObject({
  user_id: ownUserIdSchema,
  password: passwordSchema,
  role: roleSchema.optional(),
  permissions: grantedPermissionsSchema.optional(),
  camera_groups: cameraGroupsSchema.optional(),
});
const accountSchema = z.object({
  user_id: z.string(),
  name: z.string().optional().describe("The name at the identity provider; absent for an account with a password"),
  role: roleSchema.optional().describe("Absent for a list of permissions"),
  permissions: z.array(z.string()),
  camera_groups: z.array(idSchema).optional().describe("The groups of cameras that the user is limited to"),
  enabled: z.boolean().describe("Whether the user may log in"),
  changed_at: timestampSchema,
});

const common = { group: "Users", permissions: ["admin"] };
const LIST: RouteDescription = {
  ...{ ...common, summary: "Lists the accounts" },
  responses: { 200: { is: "All accounts", json: z.object({ users: z.array(accountSchema) }) } },
};
const CREATE: RouteDescription = {
  ...{ ...common, summary: "Creates an account", body: newSchema },
  responses: { 201: { is: "The account", json: accountSchema } },
  errors: ["409 user_exists", "409 limit"],
};
const CHANGE: RouteDescription = {
  ...{ ...common, summary: "Changes an account", path: paramsSchema, body: changeSchema },
  responses: { 200: { is: "The changed account", json: accountSchema } },
  errors: ["404 not_found", "409 limit"],
};
const REMOVE: RouteDescription = {
  ...{ ...common, summary: "Removes an account", path: paramsSchema },
  responses: { 204: { is: "The account is removed, and its tokens are revoked" } },
  errors: ["404 not_found", "409 limit"],
};

/** `GET /users`, `POST /users`, `PUT /users/{id}` and `DELETE /users/{id}`: for admins. */
export function userRoutes(server: FastifyInstance, services: OperatorServices): void {
  const { callers, authority, http, channels } = services;
  const { accounts, cameraGroups, integrations, revocations } = authority;
  /** Each request may compute a password hash. */
  const limited = perMinute(http.maxTokenRequestsPerMinute);

  server.get("/users", described(LIST), async (request) => {
    adminOf(callers, request);
    return { users: accounts.list().map(shown) };
  });

  server.post("/users", described(CREATE, limited), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { user_id: userId, password, camera_groups, ...asked } = readBody(newSchema, request.body);
    const powers = powersOf(asked, channels);
    if (powers === undefined) throw badRequest("`role` or `permissions` is missing: what the user may do");
    checkLimit(camera_groups, powers);
    await checkGroups(camera_groups, cameraGroups);
    if (integrations.get(userId) !== undefined)
      throw badRequest(`There is an integration ${JSON.stringify(userId)}: choose another user id`);
    const account = await accounts.create({ userId, password, powers, cameraGroups: camera_groups });
    record("user.create", `user:${userId}`, accountText(account));
    return reply.code(201).send(shown(account));
  });

  server.put("/users/:id", described(CHANGE, limited), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { id: userId } = readPath(paramsSchema, request);
    const { password, enabled, camera_groups, ...asked } = readBody(changeSchema, request.body);
    const powers = powersOf(asked, channels);
    if ([password, enabled, powers, camera_groups].every((given) => given === undefined))
      throw badRequest("The body must name `password`, `role`, `permissions`, `camera_groups` or `enabled`");
    const before = await known(userId);
    if (isProvided(userId) && (password ?? powers) !== undefined) throw badRequest(IS_PROVIDED);
    const groupsAfter = camera_groups === undefined ? before.cameraGroups : (camera_groups ?? undefined);
    checkLimit(groupsAfter, powers ?? { role: before.role, permissions: before.granted });
    await checkGroups(camera_groups ?? undefined, cameraGroups);
    if (password !== undefined || enabled === false) await endTokens(userId);
    const account = await accounts.update(userId, { password, enabled, powers, cameraGroups: camera_groups });
    const changes = [
      ...(password === undefined ? [] : ["password"]),
      ...(powers === undefined && camera_groups === undefined ? [] : [accountText(account)]),
      ...(enabled === undefined ? [] : [enabled ? "enabled" : "disabled"]),
    ];
    record("user.update", `user:${userId}`, changes.join(" "));
    return shown(account);
  });

  server.delete("/users/:id", described(REMOVE, limited), async (request, reply) => {
    const { record } = auditedAdmin(services, request);
    const { id: userId } = readPath(paramsSchema, request);
    await known(userId);
    await endTokens(userId);
    await accounts.remove(userId);
    record("user.remove", `user:${userId}`);
    return reply.code(204).send();
  });

  /** Another node may have made the account a moment ago. @throws {RequestError} 404 @throws {StoreUnavailableError} */
  async function known(userId: string): Promise<Account> {
    if (accounts.get(userId) === undefined) await accounts.refresh(userId);
    const account = accounts.get(userId);
    if (account === undefined) throw unknown(userId);
    return account;
  }

  /** Revokes the user's tokens. Called before the account is changed, so that a failed revocation can be retried. */
  async function endTokens(userId: string): Promise<void> {
    await revocations.add({ kind: "user", id: userId });
  }
}

interface AskedPowers {
  role?: z.output<typeof roleSchema> | undefined;
  permissions?: readonly string[] | undefined;
}

/** @returns undefined when the request names neither @throws {RequestError} 400 it names both, or grants nothing */
export function powersOf({ role, permissions }: AskedPowers, channels: CustomChannels): Powers | undefined {
  if (role !== undefined && permissions !== undefined)
    throw badRequest("`role` and `permissions` exclude each other: name one of them");
  if (role !== undefined) return { role };
  if (permissions === undefined) return undefined;
  checkPermissions(permissions, channels);
  return { permissions };
}

/**
 * Another node may have made a group a moment ago.
 * @throws {RequestError} 400 there is no such group @throws {StoreUnavailableError}
 */
async function checkGroups(ids: readonly string[] = [], groups: Pick<CameraGroups, "get" | "refresh">): Promise<void> {
  const findUnknown = () => ids.find((id) => groups.get(id) === undefined);
  if (findUnknown() !== undefined) await groups.refresh();
  const unknownId = findUnknown();
  if (unknownId !== undefined) throw badRequest(`There is no camera group ${JSON.stringify(unknownId)}`);
}

/** @throws {RequestError} 400 an admin is limited: an admin could remove the limit */
function checkLimit(
  ids: readonly string[] | undefined,
  { role, permissions }: { role?: Account["role"]; permissions?: readonly string[] },
): void {
  if (ids === undefined) return;
  if (role === "admin" || (role === undefined && permissions?.includes("admin")))
    throw badRequest("`camera_groups` cannot limit an admin: choose the role viewer, or permissions without admin");
}

/** The account in responses, without anything about the password. */
function shown({ userId, name, role, granted, cameraGroups, enabled, changedAt }: Account) {
  return {
    user_id: userId,
    ...(name === undefined ? {} : { name }),
    ...(role === undefined ? {} : { role }),
    permissions: granted,
    ...(cameraGroups === undefined ? {} : { camera_groups: cameraGroups }),
    enabled,
    changed_at: new Date(changedAt).toISOString(),
  };
}

/** For the audit log. */
export function powersText({ role, permissions }: Pick<Account, "role" | "permissions">): string {
  return role === undefined ? `permissions ${permissions.join(" ")}` : `role ${role}`;
}

function accountText({ role, granted, cameraGroups }: Account): string {
  const limit = cameraGroups === undefined ? "" : ` camera-groups ${cameraGroups.join(" ")}`;
  return powersText({ role, permissions: granted }) + limit;
}

function unknown(userId: string) {
  return notFound(`There is no account ${JSON.stringify(userId)}`);
}
