import { readFile, rename } from "node:fs/promises";
import type { Logger } from "pino";
import { z } from "zod";
import { type DeviceStore, deviceKindSchema } from "../../bridge/auth/devices.ts";
import { idSchema } from "../../contract/ids.ts";
import { jsonOf } from "../../platform/json.ts";

const fileSchema = z.object({
  version: z.literal(1),
  devices: z.array(z.object({ id: idSchema, kind: deviceKindSchema, salt: z.base64url(), hash: z.base64url() })),
});

class ImportError extends Error {
  override name = "ImportError";
}

type ImportDevicesOptions = { path: string; devices: Pick<DeviceStore, "add" | "get">; logger: Logger };

/**
 * Imports the devices from the file of versions before 0.2, and renames the file. Skips devices that are already in the
 * store.
 * @throws {ImportError} @throws {StoreUnavailableError}
 */
export async function importDevices({ path, devices, logger }: ImportDevicesOptions): Promise<void> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new ImportError(`cannot read the devices in ${path} (${error.message}): give this user read access`);
  });
  if (text === undefined) return;
  const file = fileSchema.safeParse(jsonOf(text));
  const advice = "correct the file, or move it away and add the devices again";
  if (!file.success) throw new ImportError(`the devices in ${path} are not valid: ${advice}`);
  for (const { id, kind, salt, hash } of file.data.devices) {
    if (devices.get(id) === undefined) await devices.add({ id, kind, credential: { salt, hash } });
  }
  await rename(path, `${path}.imported`);
  logger.info({ path, devices: file.data.devices.length }, "imported the devices of an earlier version");
}
