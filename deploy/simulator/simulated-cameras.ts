import { join } from "node:path";
import type { DeviceStore } from "../../bridge/auth/devices.ts";
import { type BackendConfig, PLACES, SIMULATED_SERVICE_ID, simulatedIds } from "../config/backend-config.ts";
import type { Secrets } from "../config/secrets.ts";
import { logFormatOf } from "../logger.ts";
import { startSimulatorProcess } from "./simulator-process.ts";

interface SimulatedCamerasOptions {
  config: BackendConfig;
  /** The store to which the simulated cameras and the service are added. */
  devices: Pick<DeviceStore, "set">;
  brokerUrl: string;
  /** Aborted when the program is told to stop, which may happen while the simulator starts. */
  stopSignal: AbortSignal;
}

interface SimulatedCameras {
  /** The ids of the simulated cameras. The id of the simulated service is not included. */
  readonly ids: readonly string[];
  stop(): Promise<void>;
}

/** Registers and starts `SIMULATOR` cameras and a processing service. @returns undefined if `SIMULATOR` is 0 */
export async function startSimulatedCameras(options: SimulatedCamerasOptions): Promise<SimulatedCameras | undefined> {
  const { config, devices, brokerUrl, stopSignal } = options;
  const { simulator, secrets, bridge } = config;
  const ids = simulatedIds(simulator).filter((id) => id !== SIMULATED_SERVICE_ID);
  if (ids.length === 0) return undefined;
  const location = { lat: simulator.LOCATION_LAT, lon: simulator.LOCATION_LON, timezone: simulator.TIMEZONE };
  const nameOf = (id: string) => PLACES.find((place) => place.id === id)?.name ?? id;
  const cameras = ids.map((id) => ({ id, secret: secretOf(secrets, id), name: nameOf(id), ...location }));
  const service = { id: SIMULATED_SERVICE_ID, secret: secretOf(secrets, SIMULATED_SERVICE_ID) };
  for (const { id, secret } of cameras) await devices.set({ id, kind: "camera", secret });
  await devices.set({ ...service, kind: "processing" });
  const message = {
    brokerUrl,
    topicRoot: bridge.topicRoot,
    cameras,
    service,
    captureIntervalS: simulator.CAPTURE_INTERVAL_S,
    width: simulator.SIMULATOR_WIDTH,
    dataPath: join(bridge.dataPath, "simulator"),
    logLevel: bridge.logLevel,
    logFormat: logFormatOf(bridge.logFormat),
  };
  const { stop } = await startSimulatorProcess(message, stopSignal);
  return { ids, stop };
}

function secretOf(secrets: Secrets, id: string): string {
  const secret = secrets.simulator[id];
  if (secret === undefined) throw new Error(`no secret was made for the simulated device ${id}`);
  return secret;
}
