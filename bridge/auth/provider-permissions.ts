import { ROLES, type Role } from "../../contract/permissions.ts";
import type { Powers } from "./accounts.ts";
import type { GroupRoles } from "./oidc-config.ts";
import { grantedPermissionsSchema } from "./tokens.ts";

/**
 * What the identity provider lets a user do: the role of a group, and the list in the claim `permissions`.
 * @returns undefined when the user may do nothing
 */
export function powersOfClaims(claims: Readonly<Record<string, unknown>>, groups: GroupRoles): Powers | undefined {
  const role = roleOf(claims, groups);
  const listed = grantedPermissionsSchema.safeParse(claims.permissions).data ?? [];
  if (listed.length === 0) return role === undefined ? undefined : { role };
  return role === undefined ? { permissions: listed } : { permissions: [...new Set([...ROLES[role], ...listed])] };
}

/**
 * The permissions in a token of the identity provider.
 * @returns the claim `permissions` as it is when no group gives a role: the caller checks it
 */
export function permissionsOfToken(claims: Readonly<Record<string, unknown>>, groups: GroupRoles): unknown {
  const role = roleOf(claims, groups);
  if (role === undefined) return claims.permissions;
  return Array.isArray(claims.permissions) ? [...ROLES[role], ...claims.permissions] : ROLES[role];
}

function roleOf(claims: Readonly<Record<string, unknown>>, { claim, roles }: GroupRoles): Role | undefined {
  const groups = groupsAt(claims, claim);
  return roles.find(({ group }) => group === "*" || groups.includes(group))?.role;
}

/** Some providers send the only group as a text. Keycloak begins the path of a group with a slash. */
function groupsAt(claims: Readonly<Record<string, unknown>>, path: readonly string[]): unknown[] {
  let value: unknown = claims;
  for (const name of path) value = isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  const groups = Array.isArray(value) ? value : [value];
  return groups.flatMap((group) => (typeof group === "string" ? [group, group.replace(/^\//, "")] : []));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
