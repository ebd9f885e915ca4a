import type { Logger } from "pino";
import { startCamera } from "./agent.ts";
import type { PreviewConfig } from "./capture/pictures.ts";
import { DEFAULT_PREVIEW, DEFAULT_READINGS_INTERVAL_S } from "./config.ts";
import { MAX_PREVIEW_BYTES } from "./link/previews.ts";
import { ProcessingService } from "./simulator/processing.ts";
import { SimulatedCamera } from "./simulator/simulated-camera.ts";

/** Short, so that a newly opened page soon shows something new. */
const DEFAULT_CAPTURE_INTERVAL_S = 10;
const OUTBOX_BYTES = 32 * 1024 * 1024;
/** Large, because the link costs nothing. */
const PREVIEW: PreviewConfig = { ...DEFAULT_PREVIEW, width: 960, maxBytes: MAX_PREVIEW_BYTES };
/** Short, because the broker usually runs on the same machine. */
const RECONNECT = { minMs: 250, maxMs: 3000 };

export interface SimulatedCameraOptions {
  id: string;
  secret: string;
  lat: number;
  lon: number;
  timezone: string;
  name: string;
}

export interface SimulatorOptions {
  brokerUrl: string;
  topicRoot: string;
  cameras: readonly SimulatedCameraOptions[];
  service: { id: string; secret: string };
  /** Seconds between pictures. Default 10. */
  captureIntervalS?: number;
  /** Pixels. Default 1280; the height is three quarters of the width. */
  width?: number;
  /** Folder for settings and unsent messages. Default: in memory only. */
  dataPath?: string;
  logger: Logger;
}

/** Starts simulated cameras and a processing service. `stop` is idempotent and takes at most about 2 s. */
export async function startSimulator(options: SimulatorOptions): Promise<{ stop(): Promise<void> }> {
  const { brokerUrl, topicRoot, cameras, service, captureIntervalS, width, dataPath, logger } = options;
  const agents = await Promise.all(
    cameras.map(({ id, secret, lat, lon, timezone, name }) => {
      const location = { lat, lon, timezone };
      return startCamera({
        config: {
          ...{ id, secret, name, brokerUrl, topicRoot, location },
          captureIntervalS: captureIntervalS ?? DEFAULT_CAPTURE_INTERVAL_S,
          readingsIntervalS: DEFAULT_READINGS_INTERVAL_S,
          // Every reading is published, so that a page shows how the weather changes.
          readingsMaxAgeS: DEFAULT_READINGS_INTERVAL_S,
          preview: PREVIEW,
          ...(dataPath === undefined ? {} : { dataPath }),
          outboxBytes: OUTBOX_BYTES,
          reconnect: RECONNECT,
        },
        camera: new SimulatedCamera({ location, seed: id, ...(width === undefined ? {} : { width }) }),
        logger,
      });
    }),
  );
  const serviceCameras = cameras.map(({ id }) => id);
  const processing = new ProcessingService(
    { ...service, brokerUrl, topicRoot, cameras: serviceCameras, reconnect: RECONNECT },
    logger,
  );
  processing.start();
  let stopping: Promise<void> | undefined;
  return {
    stop() {
      stopping ??= Promise.all([processing, ...agents].map((part) => part.stop())).then(() => {});
      return stopping;
    },
  };
}
