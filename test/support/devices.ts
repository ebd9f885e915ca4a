import { join } from "node:path";
import { pino } from "pino";
import { type DeviceStore, openDevices } from "../../bridge/auth/devices.ts";
import type { Documents } from "../../bridge/cluster/cluster.ts";
import { openLocalCluster } from "../../bridge/cluster/local/local.ts";

/**
 * Opens the devices in the data path of a stopped server. @param now milliseconds since 1970. Default: the system clock
 */
export async function openDevicesOf(
  dataPath: string,
  now = Date.now,
): Promise<{ devices: DeviceStore; documents: Documents; close(): Promise<void> }> {
  const logger = pino({ level: "silent" });
  const cluster = await openLocalCluster({ path: join(dataPath, "cluster"), logger });
  const devices = await openDevices({ documents: cluster.documents, logger, now });
  return {
    devices,
    documents: cluster.documents,
    async close() {
      devices.stop();
      await cluster.stop();
    },
  };
}

/** Registers a camera before the server starts. @returns the camera's secret */
export async function addCamera(dataPath: string, id: string): Promise<string> {
  const { devices, close } = await openDevicesOf(dataPath);
  try {
    const secret = await devices.add({ id, kind: "camera", credential: {} });
    if (secret === undefined) throw new Error("no secret was made");
    return secret;
  } finally {
    await close();
  }
}
