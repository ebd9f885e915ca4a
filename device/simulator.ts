import type { Logger } from "pino";
import { startCamera } from "./agent.ts";
import type { PreviewConfig } from "./capture/pictures.ts";
import { DEFAULT_PREVIEW, DEFAULT_READINGS_INTERVAL_S } from "./config.ts";
import { MAX_PREVIEW_BYTES } from "./link/previews.ts";
import { startProcessingService } from "./simulator/processing.ts";
import { createSimulatedCamera } from "./simulator/simulated-camera.ts";

/** Often enough that a page which was just opened soon shows something new. */
const DEFAULT_CAPTURE_INTERVAL_S = 10;
/** What a simulated camera keeps for a backend that is away: half an hour of pictures, and days of words. */
const OUTBOX_BYTES = 32 * 1024 * 1024;
/** Its link costs nothing. */
const PREVIEW: PreviewConfig = { ...DEFAULT_PREVIEW, width: 960, maxBytes: MAX_PREVIEW_BYTES };
/** Its broker is next door: nobody wants to wait minutes for it after a restart. */
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
  /** The processing service, which works on the pictures of all cameras. */
  service: { id: string; secret: string };
  /** Default 10. */
  captureIntervalS?: number;
  /** Pixels across a picture, which is three quarters as high. Default 1280. */
  width?: number;
  /** Where the cameras keep what they were told, and what they have not sent. Default: nowhere. */
  dataPath?: string;
  logger: Logger;
}

/** Starts simulated cameras and a simulated processing service in this process. `stop` is idempotent and takes some 2 s at most. */
export async function startSimulator(options: SimulatorOptions): Promise<{ stop(): Promise<void> }> {
  const { brokerUrl, topicRoot, cameras, service, captureIntervalS, width, dataPath, logger } = options;
  const agents = await Promise.all(
    cameras.map(({ id, secret, lat, lon, timezone, name }) => {
      const location = { lat, lon, timezone };
      return startCamera({
        config: {
          id,
          secret,
          name,
          brokerUrl,
          topicRoot,
          location,
          captureIntervalS: captureIntervalS ?? DEFAULT_CAPTURE_INTERVAL_S,
          readingsIntervalS: DEFAULT_READINGS_INTERVAL_S,
          // Its broker is next door, and a page that shows weather is to show that it changes.
          readingsMaxAgeS: DEFAULT_READINGS_INTERVAL_S,
          preview: PREVIEW,
          ...(dataPath === undefined ? {} : { dataPath }),
          outboxBytes: OUTBOX_BYTES,
          reconnect: RECONNECT,
        },
        camera: createSimulatedCamera({ location, seed: id, ...(width === undefined ? {} : { width }) }),
        logger,
      });
    }),
  );
  const processing = startProcessingService({
    config: { ...service, brokerUrl, topicRoot, cameras: cameras.map(({ id }) => id), reconnect: RECONNECT },
    logger,
  });
  let stopping: Promise<void> | undefined;
  return {
    stop() {
      stopping ??= Promise.all([processing, ...agents].map((part) => part.stop())).then(() => {});
      return stopping;
    },
  };
}
