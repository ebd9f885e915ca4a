import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { messagesOf } from "../platform/level/errors.ts";
import { ImageStore } from "./capture/image-store.ts";
import type { CameraConfig } from "./config.ts";
import { CameraStore } from "./host/camera-store.ts";
import type { DeviceClock } from "./host/clock.ts";
import { openDiskOutbox } from "./outbox/disk-outbox.ts";
import { DEFAULT_OUTBOX_BYTES, MemoryOutbox } from "./outbox/memory-outbox.ts";
import type { DedupKeys, Outbox } from "./outbox/outbox.ts";

export interface Stores {
  store: CameraStore;
  images: ImageStore | undefined;
  outbox: Outbox & DedupKeys;
}

/**
 * Opens everything below `dataPath`. If the disk cannot be written, the camera keeps everything in memory: only a
 * running camera can report the failure.
 * @throws when `dataPath` cannot be used for another reason, for example when another process uses it
 */
export async function openStores(config: CameraConfig, clock: DeviceClock, logger: Logger): Promise<Stores> {
  const { id, dataPath, outboxBytes, outboxHours } = config;
  const openMemoryStore = (): Promise<CameraStore> => CameraStore.open(undefined, id, logger);
  if (dataPath === undefined)
    return { store: await openMemoryStore(), images: undefined, outbox: new MemoryOutbox({ maxBytes: outboxBytes }) };
  let diskFailure: string | undefined;
  const tryDisk = async <T>(onDisk: () => Promise<T>, inMemory: () => Promise<T>): Promise<T> => {
    try {
      if (diskFailure === undefined) return await onDisk();
    } catch (error) {
      if (!isDiskFailure(error)) throw error;
      diskFailure = messagesOf(error);
    }
    return inMemory();
  };
  const nothing = async (): Promise<void> => {};
  const store = await tryDisk(() => CameraStore.open(dataPath, id, logger), openMemoryStore);
  // On a read-only disk, Node.js reports a folder that cannot be created as missing. This check reports the disk as the
  // cause.
  await tryDisk(() => access(dataPath, constants.W_OK), nothing);
  const images = config.images === undefined ? undefined : new ImageStore({ dataPath, ...config.images, logger });
  // Pictures are taken even after a failure: each one is then reported as failed.
  await tryDisk(async () => images?.prepare(), nothing);
  const path = join(dataPath, `${id}.outbox`);
  const limits = { maxBytes: outboxBytes, ...(outboxHours === undefined ? {} : { maxAgeMs: outboxHours * 3_600_000 }) };
  const outbox = await tryDisk<Stores["outbox"]>(
    () => openDiskOutbox({ path, ...limits, clock, logger }),
    async () => new MemoryOutbox({ maxBytes: Math.min(outboxBytes, DEFAULT_OUTBOX_BYTES), writeFailure: diskFailure }),
  );
  if (diskFailure !== undefined)
    logger.error(
      { dataPath, reason: diskFailure },
      "the disk cannot be written: the camera runs in memory, stores no pictures, and loses unsent messages when it stops; repair the disk (is it full, or mounted read-only?) and restart the camera",
    );
  return { store, images, outbox };
}

/** Whether the disk is read-only, full or broken, which no setting can repair. */
function isDiskFailure(error: unknown): boolean {
  return /EROFS|ENOSPC|EDQUOT|EIO\b|read-only file system|no space left|quota exceeded|input\/output error/i.test(
    messagesOf(error),
  );
}
