import type { CustomChannels } from "../../../contract/channels.ts";
import { permissionProblem } from "../../../contract/permission-names.ts";
import { badRequest } from "../errors.ts";

/**
 * One that is misspelt would be taken, and grant nothing.
 * @throws {RequestError} 400 naming each permission that grants nothing anywhere, and the one that was probably meant
 */
export function checkPermissions(permissions: readonly string[], channels: CustomChannels): void {
  const details = permissions.flatMap((permission, index) => {
    const message = permissionProblem(permission, channels);
    return message === undefined ? [] : [{ field: `permissions.${index}`, message }];
  });
  if (details.length === 0) return;
  throw badRequest(`The body is not right: ${details.map(({ message }) => message).join("; ")}`, details);
}
