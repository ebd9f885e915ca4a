import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import { ImageStore } from "./capture/image-store.ts";
import type { CameraConfig } from "./config.ts";
import { type CameraStore, openCameraStore } from "./host/camera-store.ts";
import type { DeviceClock } from "./host/clock.ts";
import { openDiskOutbox } from "./outbox/disk-outbox.ts";
import { DEFAULT_OUTBOX_BYTES, MemoryOutbox } from "./outbox/memory-outbox.ts";
import type { Marks, Outbox } from "./outbox/outbox.ts";

/** Everything of a camera that outlives its process. */
export interface Stores {
  store: CameraStore;
  /** Undefined: the pictures themselves are not kept. */
  images: ImageStore | undefined;
  outbox: Outbox;
  marks: Marks;
}

/**
 * Opens what is below `dataPath`. On a disk that takes no writes the camera starts all the same, with its memory in place
 * of it: only a camera that runs can say what is wrong.
 * @throws when `dataPath` cannot be used for another reason, for example when another process uses it
 */
export async function openStores(config: CameraConfig, clock: DeviceClock, logger: Logger): Promise<Stores> {
  const { id, dataPath, outboxBytes, outboxHours } = config;
  if (dataPath === undefined)
    return { store: await openCameraStore(undefined, id, logger), images: undefined, ...inMemory(outboxBytes) };
  const troubles: string[] = [];
  const orOnTrouble = async <T>(open: () => Promise<T>, otherwise: () => Promise<T>): Promise<T> => {
    try {
      if (troubles.length > 0) return await otherwise();
      return await open();
    } catch (error) {
      if (!isDiskTrouble(error)) throw error;
      troubles.push(textOf(error));
      return otherwise();
    }
  };
  const store = await orOnTrouble(
    () => openCameraStore(dataPath, id, logger),
    () => openCameraStore(undefined, id, logger),
  );
  // Node.js calls a folder that cannot be made on a read-only disk missing; this names the disk.
  await orOnTrouble(
    () => access(dataPath, constants.W_OK),
    async () => {},
  );
  const images = config.images === undefined ? undefined : new ImageStore({ dataPath, ...config.images, logger });
  // Pictures are tried all the same, and each that cannot be kept is said to have failed.
  await orOnTrouble(
    async () => images?.prepare(),
    async () => {},
  );
  const kept = await orOnTrouble(
    async () => {
      const outbox = await openDiskOutbox({
        path: join(dataPath, `${id}.outbox`),
        maxBytes: outboxBytes,
        ...(outboxHours === undefined ? {} : { maxAgeMs: outboxHours * 3_600_000 }),
        clock,
        logger,
      });
      return { outbox, marks: outbox };
    },
    async () => inMemory(Math.min(outboxBytes, DEFAULT_OUTBOX_BYTES), troubles.at(-1)),
  );
  if (troubles.length > 0)
    logger.error(
      { dataPath, reason: troubles.at(-1) },
      "the disk takes no writes: the camera runs on its memory, keeps no pictures, and loses at its end what it has not sent; mend the disk (is it full, or mounted read-only?) and restart the camera",
    );
  return { store, images, ...kept };
}

function inMemory(maxBytes: number, trouble?: string): { outbox: Outbox; marks: Marks } {
  const names = new Set<string>();
  const marks: Marks = {
    has: (mark) => names.has(mark),
    keepOnly: async (kept) => {
      for (const name of names) if (!kept.has(name)) names.delete(name);
    },
  };
  const onMark = (mark: string): void => {
    names.add(mark);
  };
  return { outbox: new MemoryOutbox({ maxBytes, onMark, ...(trouble === undefined ? {} : { trouble }) }), marks };
}

/** The disk is read-only, full or broken: no setting of the camera mends that. */
function isDiskTrouble(error: unknown): boolean {
  return /EROFS|ENOSPC|EDQUOT|EIO\b|read-only file system|no space left|quota exceeded|input\/output error/i.test(
    textOf(error),
  );
}

/** An error's message and those of its causes. */
function textOf(error: unknown): string {
  const texts: string[] = [];
  for (let cause = error; cause instanceof Error && texts.length < 4; cause = cause.cause) texts.push(cause.message);
  return texts.length === 0 ? String(error) : texts.join(": ");
}
