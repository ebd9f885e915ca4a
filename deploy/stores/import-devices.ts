import { readFile, rename } from "node:fs/promises";
import type { Logger } from "pino";
import { z } from "zod";
import { type DeviceStore, deviceKindSchema } from "../../bridge/auth/devices.ts";
import { idSchema } from "../../contract/ids.ts";
import { withoutBom } from "../../platform/byte-order-mark.ts";

const fileSchema = z.object({
  version: z.literal(1),
  devices: z.array(z.object({ id: idSchema, kind: deviceKindSchema, salt: z.base64url(), hash: z.base64url() })),
});

/** The devices cannot be taken over; the message says which file, and what to do. */
export class ImportError extends Error {
  override name = "ImportError";
}

/**
 * Before version 0.2 each node had its devices in a file. They are taken into the store, but for those that are there,
 * and the file is put aside: no camera has to be let in again.
 *
 * @throws {ImportError} @throws {StoreUnavailableError}
 */
export async function importDevices({
  path,
  devices,
  logger,
}: {
  path: string;
  devices: Pick<DeviceStore, "add" | "get">;
  logger: Logger;
}): Promise<void> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new ImportError(`cannot read the devices in ${path} (${error.message}): let this user read it`);
  });
  if (text === undefined) return;
  const file = fileSchema.safeParse(jsonOf(text));
  if (!file.success)
    throw new ImportError(
      `cannot understand the devices in ${path}: mend the file, or move it away and add them again`,
    );
  for (const { id, kind, salt, hash } of file.data.devices) {
    if (devices.get(id) === undefined) await devices.add({ id, kind, credential: { salt, hash } });
  }
  await rename(path, `${path}.imported`);
  logger.info({ path, devices: file.data.devices.length }, "the devices of an earlier version are in the store now");
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(withoutBom(text));
  } catch {
    return undefined;
  }
}
