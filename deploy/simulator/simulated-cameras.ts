import { join } from "node:path";
import type { DeviceStore } from "../../bridge/auth/devices.ts";
import { type BackendConfig, PLACES, SERVICE_ID, simulatedIds } from "../config/backend-config.ts";
import type { Secrets } from "../config/secrets.ts";
import { startSimulatorProcess } from "./simulator-process.ts";

export interface SimulatedCamerasOptions {
  config: BackendConfig;
  /** The simulated cameras and the service are registered here. */
  devices: Pick<DeviceStore, "set">;
  brokerUrl: string;
}

/** The simulated cameras and the processing service that works on their pictures. */
export interface SimulatedCameras {
  /** Ids of the cameras, without the service. */
  readonly ids: readonly string[];
  stop(): Promise<void>;
}

/** Registers the cameras that `SIMULATOR` asks for and starts them. @returns undefined if it asks for none */
export async function startSimulatedCameras(options: SimulatedCamerasOptions): Promise<SimulatedCameras | undefined> {
  const { config, devices, brokerUrl } = options;
  const { simulator, secrets, bridge } = config;
  const ids = simulatedIds(simulator).filter((id) => id !== SERVICE_ID);
  if (ids.length === 0) return undefined;
  const cameras = ids.map((id) => ({
    id,
    secret: secretOf(secrets, id),
    lat: simulator.LOCATION_LAT,
    lon: simulator.LOCATION_LON,
    timezone: simulator.TIMEZONE,
    name: PLACES.find((place) => place.id === id)?.name ?? id,
  }));
  const service = { id: SERVICE_ID, secret: secretOf(secrets, SERVICE_ID) };
  for (const { id, secret } of cameras) await devices.set({ id, kind: "camera", secret });
  await devices.set({ ...service, kind: "processing" });
  const { stop } = await startSimulatorProcess({
    brokerUrl,
    topicRoot: bridge.topicRoot,
    cameras,
    service,
    captureIntervalS: simulator.CAPTURE_INTERVAL_S,
    width: simulator.SIMULATOR_WIDTH,
    dataPath: join(bridge.dataPath, "simulator"),
    logLevel: bridge.logLevel,
  });
  return { ids, stop };
}

function secretOf(secrets: Secrets, id: string): string {
  const secret = secrets.simulator[id];
  if (secret === undefined) throw new Error(`no secret was made for the simulated device ${id}`);
  return secret;
}
