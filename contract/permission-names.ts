import type { CustomChannels } from "./channels.ts";
import { isId } from "./ids.ts";
import { nearestName } from "./nearest-name.ts";
import { isKnownPermission, PERMISSIONS } from "./permissions.ts";
import { quoted } from "./visible-text.ts";

/** Why a permission is invalid, with the permission that was probably meant; undefined for a valid permission. */
export function permissionProblem(permission: string, channels: CustomChannels): string | undefined {
  const custom = [...channels.values()].map((channel) => channel.permission);
  if (isKnownPermission(permission) || custom.includes(permission)) return undefined;
  const nearest = nearestName(permission, [...PERMISSIONS, ...custom, ...ofSameId(permission)]);
  const hint =
    nearest === undefined
      ? `permissions are ${[...PERMISSIONS, ...FORMS, ...custom].join(", ")}`
      : `did you mean ${quoted(nearest)}?`;
  return `there is no permission ${quoted(permission)}: ${hint}`;
}

const FORMS = ["camera:{id}:read", "camera:{id}:control", "device:{id}", "processing:{id}"];

/** Known permissions with the same id: candidates for a misspelt permission such as `camera:north:raed`. */
function ofSameId(permission: string): string[] {
  const [, id = ""] = permission.toLowerCase().split(":");
  return isId(id) ? FORMS.map((form) => form.replace("{id}", id)) : [];
}
