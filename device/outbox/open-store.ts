import { rename, rm } from "node:fs/promises";
import type { Logger } from "pino";
import { isDamage, isLocked, messagesOf, StoreUnusableError } from "../../platform/level/errors.ts";
import { type OpenedStore, openStore, repairStore } from "../../platform/level/open-store.ts";
import { LargeValues } from "./large-values.ts";
import { isDiskFull, LEVEL_OPTIONS, type OutboxDatabase, OutboxStore } from "./store.ts";

const FULL_DISK_DELETE_BYTES = 1024 * 1024;

/** The store cannot be opened, but is not damaged. The message says what to do. */
export class OutboxUnusableError extends Error {
  override name = "OutboxUnusableError";
}

/** The store is open, but cannot be read completely. */
class UnreadableError extends Error {
  override name = "UnreadableError";
}

type OpenDatabase = () => Promise<OpenedStore<Uint8Array>>;

/**
 * Opens or creates the store, and reads it. Repairs a damaged store. Renames one that cannot be repaired to
 * `{path}.damaged` and starts with an empty one: otherwise the camera would not start.
 * @param read often the only way to detect damage; called again after a repair
 * @throws {OutboxUnusableError} when another process uses the store, or the folder cannot be written
 */
export async function openOutboxStore<T>(
  path: string,
  logger: Logger,
  read: (store: OutboxStore) => Promise<T>,
): Promise<T> {
  const openAndRead = async (open: OpenDatabase): Promise<T> => {
    const store = new OutboxStore(path, await openDatabase(path, logger, open), logger);
    try {
      return await read(store);
    } catch (error) {
      await store.close();
      throw new UnreadableError("it cannot be read", { cause: error });
    }
  };
  const options = { folder: path, what: "the outbox", level: LEVEL_OPTIONS };
  try {
    return await openAndRead(() => openStore(options));
  } catch (error) {
    if (!(error instanceof UnreadableError)) return await startEmpty(error);
    logger.error({ path, reason: messagesOf(error) }, "outbox damaged, repairing it");
  }
  return await openAndRead(() => repairStore(options, "it cannot be read")).catch(startEmpty);

  async function startEmpty(error: unknown): Promise<T> {
    if (!isDamage(error) && !(error instanceof UnreadableError)) throw unusable(path, error);
    const movedTo = `${path}.damaged`;
    logger.error({ path, movedTo, reason: messagesOf(error) }, "outbox cannot be repaired, starting with an empty one");
    await rm(movedTo, { recursive: true, force: true });
    await rename(path, movedTo);
    return await openAndRead(() => openStore(options));
  }
}

async function openDatabase(path: string, logger: Logger, open: OpenDatabase): Promise<OutboxDatabase> {
  const { db, loss } = await openWithRoom(path, logger, open);
  if (loss !== undefined)
    logger.error({ path, reason: loss.reason }, "outbox was damaged and repaired, messages may be missing");
  try {
    return { db, large: await LargeValues.open(path) };
  } catch (error) {
    await db.close();
    throw error;
  }
}

/**
 * LevelDB writes while it opens, so space is freed on a full disk. Otherwise the camera could not start and report it.
 */
async function openWithRoom(path: string, logger: Logger, open: OpenDatabase): Promise<OpenedStore<Uint8Array>> {
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (!isDiskFull(messagesOf(error)) || !(await LargeValues.deleteOldest(path, FULL_DISK_DELETE_BYTES)))
        throw error;
      logger.warn({ path }, "disk full, oldest previews deleted to open the outbox");
    }
  }
}

function unusable(path: string, error: unknown): OutboxUnusableError {
  const detail = messagesOf(error instanceof StoreUnusableError ? error.cause : error);
  const reason = isLocked(error)
    ? "another process uses it: is a second agent running with the same DATA_PATH?"
    : `${detail}${isDiskFull(detail) ? " (free some space on that disk)" : ""}`;
  return new OutboxUnusableError(`the outbox in ${path} cannot be opened: ${reason}`, { cause: error });
}
