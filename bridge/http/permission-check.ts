import type { CustomChannels } from "../../contract/channels.ts";
import { permissionProblem } from "../../contract/permission-names.ts";
import { badRequest } from "./errors.ts";

/** @throws {RequestError} 400 for permissions that grant nothing: a misspelt one would be stored without effect */
export function checkPermissions(permissions: readonly string[], channels: CustomChannels): void {
  const details = permissions.flatMap((permission, index) => {
    const message = permissionProblem(permission, channels);
    return message === undefined ? [] : [{ field: `permissions.${index}`, message }];
  });
  if (details.length > 0) throw badRequest(details.map(({ message }) => message).join("; "), details);
}
